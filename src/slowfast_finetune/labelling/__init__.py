"""Labels from and for other programs: lists of data sets, exports of annotation tools."""

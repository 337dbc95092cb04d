"""From a trained model and clips to answers; the one way that training and users share."""

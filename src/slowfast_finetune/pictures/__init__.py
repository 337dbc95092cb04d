"""Make the pictures that pages show: contact sheets and Grad-CAM."""

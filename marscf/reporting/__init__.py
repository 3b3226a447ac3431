"""Tables, figures and the page to read, from what the stages measured; and the regression check."""

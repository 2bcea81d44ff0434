"""What a person sees on the terminal, and the files that compare the rows of a sweep."""

"""The pages of the server itself: signing in, setting up, GraphiQL. Plain files, no template and no inline script."""

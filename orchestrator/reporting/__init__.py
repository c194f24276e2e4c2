"""What people look at: terminal tables, heat maps, panels, and the folder that holds them."""

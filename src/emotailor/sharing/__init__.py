"""A trained model as a folder that the Hugging Face Hub takes, and that anybody can use."""

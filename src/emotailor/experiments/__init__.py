"""What the commands do: plan, evaluate, demonstrate, render."""

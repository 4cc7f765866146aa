"""The overlay: kernels, designs, and what runs them without an NPU. The package never imports this."""

"""The overlay: kernels, designs, and what runs them without an NPU. Not part of the package."""

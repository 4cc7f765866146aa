"""How much program memory the kernels take, estimated without Peano."""

"""LLVM IR through llvmlite."""

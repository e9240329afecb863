// PASSES: fuse,outline
// Scatter as outline leaves it: rows are added to those that indices name.
func.func @main(%x: tensor<6x4xf32> {graph.name = "x"}, %x1: tensor<3x1xi64> {graph.name = "x1"}, %x2: tensor<3x4xf32> {graph.name = "x2"}) -> (tensor<6x4xf32> {graph.name = "y"}) {
  %0 = graph.scatter %x, %x1, %x2 "add" {loops = array<i64: 0>, axes = array<i64: -1, 1>} : tensor<6x4xf32>, tensor<3x1xi64>, tensor<3x4xf32> -> tensor<6x4xf32>
  func.return %0 : tensor<6x4xf32>
}
// -----
builtin.module @main {
  func.func @copy_0(%x0: memref<6x4xf32> {kernel.name = "x0", kernel.shape = ["6", "4"], kernel.dtype = "f32"}, %y0: memref<6x4xf32> {kernel.name = "y0", kernel.shape = ["6", "4"], kernel.dtype = "f32"}, %begin: index {kernel.role = "begin"}, %end: index {kernel.role = "end"}) attributes {kernel.tiles = "6", kernel.optimise, kernel.report = ["written as plain loops: stores go where run-time values say"]} {
    %0 = arith.constant 0 : index
    %1 = arith.constant 6 : index
    %2 = arith.constant 4 : index
    %3 = arith.constant 1 : index
    scf.for %4 = %begin to %end step %3 {
      scf.for %5 = %0 to %2 step %3 {
        %6 = memref.load %x0[%4, %5] : memref<6x4xf32>
        memref.store %6, %y0[%4, %5] : memref<6x4xf32>
      } {apart}
    }
    func.return
  }
  func.func @scatter_0(%x1: memref<3x1xi64> {kernel.name = "x1", kernel.shape = ["3", "1"], kernel.dtype = "i64"}, %x2: memref<3x4xf32> {kernel.name = "x2", kernel.shape = ["3", "4"], kernel.dtype = "f32"}, %y0: memref<6x4xf32> {kernel.name = "y0", kernel.shape = ["6", "4"], kernel.dtype = "f32"}) attributes {kernel.optimise, kernel.report = ["written as plain loops: stores go where run-time values say"]} {
    %0 = arith.constant 0 : index
    %1 = arith.constant 3 : index
    %2 = arith.constant 4 : index
    %3 = arith.constant 6 : index
    %4 = arith.constant 1 : index
    scf.for %5 = %0 to %1 step %4 {
      %6 = memref.load %x1[%5, %0] : memref<3x1xi64>
      %7 = arith.index_cast %6 : i64 to index
      %8 = arith.cmpi slt, %7, %0 : index
      %9 = arith.addi %7, %3 : index
      %10 = arith.select %8, %9, %7 : index
      %11 = arith.cmpi sge, %10, %0 : index
      %12 = arith.cmpi slt, %10, %3 : index
      %13 = arith.andi %11, %12 : i1
      scf.if %13 {
        scf.for %14 = %0 to %2 step %4 {
          %15 = memref.load %x2[%5, %14] : memref<3x4xf32>
          %16 = memref.load %y0[%10, %14] : memref<6x4xf32>
          %17 = arith.addf %16, %15 : f32
          memref.store %17, %y0[%10, %14] : memref<6x4xf32>
        } {apart}
      }
    }
    func.return
  }
  func.func @main(%x: memref<6x4xf32> {kernel.name = "x", kernel.role = "input", kernel.dtype = "f32", kernel.dims = #graph.dims<6, 4>}, %x1: memref<3x1xi64> {kernel.name = "x1", kernel.role = "input", kernel.dtype = "i64", kernel.dims = #graph.dims<3, 1>}, %x2: memref<3x4xf32> {kernel.name = "x2", kernel.role = "input", kernel.dtype = "f32", kernel.dims = #graph.dims<3, 4>}, %y: memref<6x4xf32> {kernel.name = "y", kernel.role = "output", kernel.dtype = "f32", kernel.dims = #graph.dims<6, 4>}) {
    kernel.call @copy_0(%x, %y) : memref<6x4xf32>, memref<6x4xf32>
    kernel.call @scatter_0(%x1, %x2, %y) : memref<3x1xi64>, memref<3x4xf32>, memref<6x4xf32>
    func.return
  }
}

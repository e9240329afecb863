// PASSES: fuse,outline,merge-loops,schedule{target=x86-64-v3},lower{target=x86-64-v3}
// Convolution as lower leaves it: 3x3, channels last.
func.func @main(%x: tensor<1x4x4x2xf32> {graph.name = "x"}) -> (tensor<1x2x2x8xf32> {graph.name = "y"}) {
  %0 = graph.weight @w : tensor<3x3x2x8xf32>
  %1 = graph.convolution %x, %0 "n01c,01co->n01o" {strides = array<i64: 1, 1>, low = #graph.dims<0, 0>, high = #graph.dims<0, 0>, dilations = array<i64: 1, 1>, x_dilation = array<i64: 1, 1>} : tensor<1x4x4x2xf32>, tensor<3x3x2x8xf32> -> tensor<1x2x2x8xf32>
  func.return %1 : tensor<1x2x2x8xf32>
}
// -----
builtin.module @main {
  func.func private @convolution_0_2x2x8x3x6_0(%x: memref<4x8xf32, strided<[8, 1], offset: ?>>, %w: memref<3x6x8xf32, strided<[48, 8, 1], offset: ?>, "panel">, %y: memref<2x2x8xf32, strided<[16, 8, 1], offset: ?>>) {
    %0 = arith.constant 0.000000e+00 : f32
    %1 = vector.broadcast %0 : f32 to vector<8xf32>
    %2 = arith.constant 0 : index
    %3 = arith.constant 3 : index
    %4 = arith.constant 1 : index
    %5 = arith.constant 6 : index
    %6 = arith.constant 2 : index
    %7, %8, %9, %10 = scf.for %kh = %2 to %3 step %4 iter_args(%11 = %1, %12 = %1, %13 = %1, %14 = %1) -> (vector<8xf32>, vector<8xf32>, vector<8xf32>, vector<8xf32>) {
      %15, %16, %17, %18 = scf.for %kw_ic = %2 to %5 step %4 iter_args(%19 = %11, %20 = %12, %21 = %13, %22 = %14) -> (vector<8xf32>, vector<8xf32>, vector<8xf32>, vector<8xf32>) {
        %23 = memref.load %x[%kh, %kw_ic] : memref<4x8xf32, strided<[8, 1], offset: ?>>
        %24 = vector.broadcast %23 : f32 to vector<8xf32>
        %25 = vector.load %w[%kh, %kw_ic, %2] : memref<3x6x8xf32, strided<[48, 8, 1], offset: ?>, "panel">, vector<8xf32>
        %26 = vector.fma %24, %25, %19 : vector<8xf32>
        %27 = arith.addi %kw_ic, %6 : index
        %28 = memref.load %x[%kh, %27] : memref<4x8xf32, strided<[8, 1], offset: ?>>
        %29 = vector.broadcast %28 : f32 to vector<8xf32>
        %30 = vector.fma %29, %25, %20 : vector<8xf32>
        %31 = arith.addi %kh, %4 : index
        %32 = memref.load %x[%31, %kw_ic] : memref<4x8xf32, strided<[8, 1], offset: ?>>
        %33 = vector.broadcast %32 : f32 to vector<8xf32>
        %34 = vector.fma %33, %25, %21 : vector<8xf32>
        %35 = arith.addi %kh, %4 : index
        %36 = arith.addi %kw_ic, %6 : index
        %37 = memref.load %x[%35, %36] : memref<4x8xf32, strided<[8, 1], offset: ?>>
        %38 = vector.broadcast %37 : f32 to vector<8xf32>
        %39 = vector.fma %38, %25, %22 : vector<8xf32>
        scf.yield %26, %30, %34, %39 : vector<8xf32>, vector<8xf32>, vector<8xf32>, vector<8xf32>
      }
      scf.yield %15, %16, %17, %18 : vector<8xf32>, vector<8xf32>, vector<8xf32>, vector<8xf32>
    }
    vector.store %7, %y[%2, %2, %2] : memref<2x2x8xf32, strided<[16, 8, 1], offset: ?>>, vector<8xf32>
    vector.store %8, %y[%2, %4, %2] : memref<2x2x8xf32, strided<[16, 8, 1], offset: ?>>, vector<8xf32>
    vector.store %9, %y[%4, %2, %2] : memref<2x2x8xf32, strided<[16, 8, 1], offset: ?>>, vector<8xf32>
    vector.store %10, %y[%4, %4, %2] : memref<2x2x8xf32, strided<[16, 8, 1], offset: ?>>, vector<8xf32>
    func.return
  }
  func.func @convolution_0(%x: memref<4x4x2xf32> {kernel.name = "x", kernel.shape = ["4", "4", "2"], kernel.dtype = "f32"}, %w: memref<1x3x6x8xf32, strided<[144, 48, 8, 1]>, "panel"> {kernel.name = "w", kernel.shape = ["1", "3", "6", "8"], kernel.dtype = "f32", kernel.role = "weight", kernel.pack = {shape = [3 : i64, 6 : i64, 8 : i64], order = [], tiles = {"2" = 8 : i64}, lanes = 8 : i64}}, %y: memref<2x2x8xf32> {kernel.name = "y", kernel.shape = ["2", "2", "8"], kernel.dtype = "f32"}, %begin: index {kernel.role = "begin"}, %end: index {kernel.role = "end"}) attributes {kernel.schedule = "Level(oh = 2 parallel) | Level(oc = 8; w -> panel) | Level(oh = 2, ow = 2) | Vector(oc x 8, unroll oh*ow*oc)", kernel.tiles = "1", kernel.applied = 4 : i64} {
    %0 = arith.constant 1 : index
    %1 = arith.constant 2 : index
    %x_1 = memref.collapse_shape %x [[0 : i64], [1 : i64, 2 : i64]] : memref<4x4x2xf32> into memref<4x8xf32>
    scf.for %oh = %begin to %end step %0 {
      %2 = arith.muli %oh, %1 : index
      %x_2 = memref.subview %x_1[%2, 0] [4, 8] [1, 1] : memref<4x8xf32> to memref<4x8xf32, strided<[8, 1], offset: ?>>
      %y_1 = memref.subview %y[%2, 0, 0] [2, 2, 8] [1, 1, 1] : memref<2x2x8xf32> to memref<2x2x8xf32, strided<[16, 8, 1], offset: ?>>
      %w_1 = memref.subview %w[0, 0, 0, 0] [1, 3, 6, 8] [1, 1, 1, 1] : memref<1x3x6x8xf32, strided<[144, 48, 8, 1]>, "panel"> to memref<3x6x8xf32, strided<[48, 8, 1], offset: ?>, "panel">
      func.call @convolution_0_2x2x8x3x6_0(%x_2, %w_1, %y_1) : (memref<4x8xf32, strided<[8, 1], offset: ?>>, memref<3x6x8xf32, strided<[48, 8, 1], offset: ?>, "panel">, memref<2x2x8xf32, strided<[16, 8, 1], offset: ?>>) -> ()
    }
    func.return
  }
  func.func @main(%x: memref<1x4x4x2xf32> {kernel.name = "x", kernel.role = "input", kernel.dtype = "f32", kernel.dims = #graph.dims<1, 4, 4, 2>}, %y: memref<1x2x2x8xf32> {kernel.name = "y", kernel.role = "output", kernel.dtype = "f32", kernel.dims = #graph.dims<1, 2, 2, 8>}) {
    %0 = kernel.weight "w" : memref<3x3x2x8xf32>
    %1 = kernel.weight "w.packed.8.3x6x8" : memref<1x3x6x8xf32, strided<[144, 48, 8, 1]>, "panel">
    %2 = kernel.view %x dims ["4", "4", "2"] : memref<1x4x4x2xf32> to memref<4x4x2xf32>
    %3 = kernel.view %y dims ["2", "2", "8"] : memref<1x2x2x8xf32> to memref<2x2x8xf32>
    kernel.call @convolution_0(%2, %1, %3) : memref<4x4x2xf32>, memref<1x3x6x8xf32, strided<[144, 48, 8, 1]>, "panel">, memref<2x2x8xf32>
    func.return
  }
}

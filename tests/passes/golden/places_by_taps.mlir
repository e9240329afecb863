// PASSES: expand-places,dce
// The place of a maximum: the first tap that equals it, or is no number. The maximum is taken of the same taps.
func.func @main(%x: tensor<2x4x6x3xf32>) -> (tensor<2x2x3x3xf32>, tensor<2x2x3x3xui8>) {
  %y = graph.reduce_window %x "max" {window = array<i64: 1, 2, 2, 1>, strides = array<i64: 1, 2, 2, 1>, low = #graph.dims<0, 0, 0, 0>, high = #graph.dims<0, 0, 0, 0>, dilations = array<i64: 1, 1, 1, 1>} : tensor<2x4x6x3xf32> -> tensor<2x2x3x3xf32>
  %p = graph.window_place %x, %y {window = array<i64: 1, 2, 2, 1>, strides = array<i64: 1, 2, 2, 1>, low = #graph.dims<0, 0, 0, 0>, high = #graph.dims<0, 0, 0, 0>, dilations = array<i64: 1, 1, 1, 1>} : tensor<2x4x6x3xf32>, tensor<2x2x3x3xf32> -> tensor<2x2x3x3xui8>
  return %y, %p : tensor<2x2x3x3xf32>, tensor<2x2x3x3xui8>
}
// -----
builtin.module {
  func.func @main(%x: tensor<2x4x6x3xf32>) -> (tensor<2x2x3x3xf32>, tensor<2x2x3x3xui8>) {
    %0 = graph.slice %x {starts = #graph.dims<0, 0, 0, 0>, steps = array<i64: 1, 2, 2, 1>} : tensor<2x4x6x3xf32> -> tensor<2x2x3x3xf32>
    %1 = graph.slice %x {starts = #graph.dims<0, 0, 1, 0>, steps = array<i64: 1, 2, 2, 1>} : tensor<2x4x6x3xf32> -> tensor<2x2x3x3xf32>
    %2 = graph.slice %x {starts = #graph.dims<0, 1, 0, 0>, steps = array<i64: 1, 2, 2, 1>} : tensor<2x4x6x3xf32> -> tensor<2x2x3x3xf32>
    %3 = graph.slice %x {starts = #graph.dims<0, 1, 1, 0>, steps = array<i64: 1, 2, 2, 1>} : tensor<2x4x6x3xf32> -> tensor<2x2x3x3xf32>
    %4 = graph.maximum %0, %1 : tensor<2x2x3x3xf32>
    %5 = graph.maximum %4, %2 : tensor<2x2x3x3xf32>
    %y = graph.maximum %5, %3 : tensor<2x2x3x3xf32>
    %6 = graph.slice %x {starts = #graph.dims<0, 0, 0, 0>, steps = array<i64: 1, 2, 2, 1>} : tensor<2x4x6x3xf32> -> tensor<2x2x3x3xf32>
    %7 = graph.slice %x {starts = #graph.dims<0, 0, 1, 0>, steps = array<i64: 1, 2, 2, 1>} : tensor<2x4x6x3xf32> -> tensor<2x2x3x3xf32>
    %8 = graph.slice %x {starts = #graph.dims<0, 1, 0, 0>, steps = array<i64: 1, 2, 2, 1>} : tensor<2x4x6x3xf32> -> tensor<2x2x3x3xf32>
    %9 = graph.constant "3" : tensor<ui8>
    %10 = graph.broadcast %9 {axes = array<i64>} : tensor<ui8> -> tensor<2x2x3x3xui8>
    %11 = graph.eq %8, %y : tensor<2x2x3x3xf32>, tensor<2x2x3x3xf32> -> tensor<2x2x3x3xi1>
    %12 = graph.ne %8, %8 : tensor<2x2x3x3xf32>, tensor<2x2x3x3xf32> -> tensor<2x2x3x3xi1>
    %13 = graph.logical_or %11, %12 : tensor<2x2x3x3xi1>
    %14 = graph.constant "2" : tensor<ui8>
    %15 = graph.broadcast %14 {axes = array<i64>} : tensor<ui8> -> tensor<2x2x3x3xui8>
    %16 = graph.select %13, %15, %10 : tensor<2x2x3x3xi1>, tensor<2x2x3x3xui8>, tensor<2x2x3x3xui8> -> tensor<2x2x3x3xui8>
    %17 = graph.eq %7, %y : tensor<2x2x3x3xf32>, tensor<2x2x3x3xf32> -> tensor<2x2x3x3xi1>
    %18 = graph.ne %7, %7 : tensor<2x2x3x3xf32>, tensor<2x2x3x3xf32> -> tensor<2x2x3x3xi1>
    %19 = graph.logical_or %17, %18 : tensor<2x2x3x3xi1>
    %20 = graph.constant "1" : tensor<ui8>
    %21 = graph.broadcast %20 {axes = array<i64>} : tensor<ui8> -> tensor<2x2x3x3xui8>
    %22 = graph.select %19, %21, %16 : tensor<2x2x3x3xi1>, tensor<2x2x3x3xui8>, tensor<2x2x3x3xui8> -> tensor<2x2x3x3xui8>
    %23 = graph.eq %6, %y : tensor<2x2x3x3xf32>, tensor<2x2x3x3xf32> -> tensor<2x2x3x3xi1>
    %24 = graph.ne %6, %6 : tensor<2x2x3x3xf32>, tensor<2x2x3x3xf32> -> tensor<2x2x3x3xi1>
    %25 = graph.logical_or %23, %24 : tensor<2x2x3x3xi1>
    %26 = graph.constant "0" : tensor<ui8>
    %27 = graph.broadcast %26 {axes = array<i64>} : tensor<ui8> -> tensor<2x2x3x3xui8>
    %p = graph.select %25, %27, %22 : tensor<2x2x3x3xi1>, tensor<2x2x3x3xui8>, tensor<2x2x3x3xui8> -> tensor<2x2x3x3xui8>
    func.return %y, %p : tensor<2x2x3x3xf32>, tensor<2x2x3x3xui8>
  }
}

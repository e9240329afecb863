// PASSES: expand-places,dce
// Windows of three, two apart: the last element of one is the first of the next, which may both put something there.
func.func @main(%v: tensor<3x2xf32>, %p: tensor<3x2xui8>) -> tensor<8x2xf32> {
  %t = graph.window_put %v, %p {window = array<i64: 3, 1>, strides = array<i64: 2, 1>, low = #graph.dims<0, 0>, high = #graph.dims<0, 0>, dilations = array<i64: 1, 1>} : tensor<3x2xf32>, tensor<3x2xui8> -> tensor<8x2xf32>
  return %t : tensor<8x2xf32>
}
// -----
builtin.module {
  func.func @main(%v: tensor<3x2xf32>, %p: tensor<3x2xui8>) -> tensor<8x2xf32> {
    %0 = graph.constant "2" : tensor<ui8>
    %1 = graph.broadcast %0 {axes = array<i64>} : tensor<ui8> -> tensor<3x2xui8>
    %2 = graph.minimum %p, %1 : tensor<3x2xui8>
    %3 = graph.constant "0.0" : tensor<f32>
    %4 = graph.pad %v, %3 {low = #graph.dims<1, 0>, high = #graph.dims<1, 0>} : tensor<3x2xf32>, tensor<f32> -> tensor<5x2xf32>
    %5 = graph.constant "0" : tensor<ui8>
    %6 = graph.pad %2, %5 {low = #graph.dims<1, 0>, high = #graph.dims<1, 0>} : tensor<3x2xui8>, tensor<ui8> -> tensor<5x2xui8>
    %7 = graph.constant "0.0" : tensor<f32>
    %8 = graph.broadcast %7 {axes = array<i64>} : tensor<f32> -> tensor<4x2x2xf32>
    %9 = graph.slice %4 {starts = #graph.dims<0, 0>, steps = array<i64: 1, 1>} : tensor<5x2xf32> -> tensor<4x2xf32>
    %10 = graph.broadcast %9 {axes = array<i64: 0, 2>} : tensor<4x2xf32> -> tensor<4x2x2xf32>
    %11 = graph.slice %6 {starts = #graph.dims<0, 0>, steps = array<i64: 1, 1>} : tensor<5x2xui8> -> tensor<4x2xui8>
    %12 = graph.broadcast %11 {axes = array<i64: 0, 2>} : tensor<4x2xui8> -> tensor<4x2x2xui8>
    %13 = graph.constant "2, 3" : tensor<2xui8>
    %14 = graph.broadcast %13 {axes = array<i64: 1>} : tensor<2xui8> -> tensor<4x2x2xui8>
    %15 = graph.eq %12, %14 : tensor<4x2x2xui8>, tensor<4x2x2xui8> -> tensor<4x2x2xi1>
    %16 = graph.select %15, %10, %8 : tensor<4x2x2xi1>, tensor<4x2x2xf32>, tensor<4x2x2xf32> -> tensor<4x2x2xf32>
    %17 = graph.slice %4 {starts = #graph.dims<1, 0>, steps = array<i64: 1, 1>} : tensor<5x2xf32> -> tensor<4x2xf32>
    %18 = graph.broadcast %17 {axes = array<i64: 0, 2>} : tensor<4x2xf32> -> tensor<4x2x2xf32>
    %19 = graph.slice %6 {starts = #graph.dims<1, 0>, steps = array<i64: 1, 1>} : tensor<5x2xui8> -> tensor<4x2xui8>
    %20 = graph.broadcast %19 {axes = array<i64: 0, 2>} : tensor<4x2xui8> -> tensor<4x2x2xui8>
    %21 = graph.constant "0, 1" : tensor<2xui8>
    %22 = graph.broadcast %21 {axes = array<i64: 1>} : tensor<2xui8> -> tensor<4x2x2xui8>
    %23 = graph.eq %20, %22 : tensor<4x2x2xui8>, tensor<4x2x2xui8> -> tensor<4x2x2xi1>
    %24 = graph.select %23, %18, %8 : tensor<4x2x2xi1>, tensor<4x2x2xf32>, tensor<4x2x2xf32> -> tensor<4x2x2xf32>
    %25 = graph.add %16, %24 : tensor<4x2x2xf32>
    %t = graph.reshape %25 : tensor<4x2x2xf32> -> tensor<8x2xf32>
    func.return %t : tensor<8x2xf32>
  }
}

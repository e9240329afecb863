// PASSES: simplify
// Slices merge, and cut only the piece of a concatenation that they lie in.
func.func @main(%x: tensor<9 x N x f32>, %z: tensor<4 x N x f32>) -> (tensor<3 x N x f32>, tensor<2 x N x f32>, tensor<9 x N x f32>) {
  %0 = graph.slice %x {starts = #graph.dims<1, 0>, steps = array<i64: 1, 1>} : tensor<9 x N x f32> -> tensor<8 x N x f32>
  %1 = graph.slice %0 {starts = #graph.dims<2, 0>, steps = array<i64: 2, 1>} : tensor<8 x N x f32> -> tensor<3 x N x f32>
  %2 = graph.concatenate %x, %z {axis = 0 : i64} : tensor<9 x N x f32>, tensor<4 x N x f32> -> tensor<13 x N x f32>
  %3 = graph.slice %2 {starts = #graph.dims<10, 0>, steps = array<i64: 1, 1>} : tensor<13 x N x f32> -> tensor<2 x N x f32>
  %4 = graph.slice %x {starts = #graph.dims<0, 0>, steps = array<i64: 1, 1>} : tensor<9 x N x f32> -> tensor<4 x N x f32>
  %5 = graph.slice %x {starts = #graph.dims<4, 0>, steps = array<i64: 1, 1>} : tensor<9 x N x f32> -> tensor<5 x N x f32>
  %6 = graph.concatenate %4, %5 {axis = 0 : i64} : tensor<4 x N x f32>, tensor<5 x N x f32> -> tensor<9 x N x f32>
  func.return %1, %3, %6 : tensor<3 x N x f32>, tensor<2 x N x f32>, tensor<9 x N x f32>
}
// -----
builtin.module {
  func.func @main(%x: tensor<9 x N x f32>, %z: tensor<4 x N x f32>) -> (tensor<3 x N x f32>, tensor<2 x N x f32>, tensor<9 x N x f32>) {
    %0 = graph.slice %x {starts = #graph.dims<3, 0>, steps = array<i64: 2, 1>} : tensor<9 x N x f32> -> tensor<3 x N x f32>
    %1 = graph.slice %z {starts = #graph.dims<1, 0>, steps = array<i64: 1, 1>} : tensor<4 x N x f32> -> tensor<2 x N x f32>
    func.return %0, %1, %x : tensor<3 x N x f32>, tensor<2 x N x f32>, tensor<9 x N x f32>
  }
}

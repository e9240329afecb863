// PASSES: split-projections
// A product that is read as a whole as well stays one.
func.func @main(%x: tensor<N x 8 x f32>) -> (tensor<N x 24 x f32>, tensor<N x 12 x f32>, tensor<N x 12 x f32>) {
  %0 = graph.weight @w : tensor<8x24xf32>
  %1 = graph.contract %x, %0 "ak,kn->an" : tensor<N x 8 x f32>, tensor<8x24xf32> -> tensor<N x 24 x f32>
  %2 = graph.slice %1 {starts = #graph.dims<0, 0>, steps = array<i64: 1, 1>} : tensor<N x 24 x f32> -> tensor<N x 12 x f32>
  %3 = graph.slice %1 {starts = #graph.dims<0, 12>, steps = array<i64: 1, 1>} : tensor<N x 24 x f32> -> tensor<N x 12 x f32>
  func.return %1, %2, %3 : tensor<N x 24 x f32>, tensor<N x 12 x f32>, tensor<N x 12 x f32>
}
// -----
builtin.module {
  func.func @main(%x: tensor<N x 8 x f32>) -> (tensor<N x 24 x f32>, tensor<N x 12 x f32>, tensor<N x 12 x f32>) {
    %0 = graph.weight @w : tensor<8x24xf32>
    %1 = graph.contract %x, %0 "ak,kn->an" : tensor<N x 8 x f32>, tensor<8x24xf32> -> tensor<N x 24 x f32>
    %2 = graph.slice %1 {starts = #graph.dims<0, 0>, steps = array<i64: 1, 1>} : tensor<N x 24 x f32> -> tensor<N x 12 x f32>
    %3 = graph.slice %1 {starts = #graph.dims<0, 12>, steps = array<i64: 1, 1>} : tensor<N x 24 x f32> -> tensor<N x 12 x f32>
    func.return %1, %2, %3 : tensor<N x 24 x f32>, tensor<N x 12 x f32>, tensor<N x 12 x f32>
  }
}

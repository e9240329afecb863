// PASSES: expand-padding,dce
// Negative edges take elements away first: of a symbolic axis as many as there are, of elements that stand apart as many as the edge reaches.
func.func @main(%x: tensor<N x 7 x f32>) -> (tensor<"N + 1" x 6 x f32>, tensor<N x 16 x f32>) {
  %0 = graph.constant "0.5" : tensor<f32>
  %1 = graph.pad %x, %0 {high = #graph.dims<3, 1>, low = #graph.dims<"-2", "-2">} : tensor<N x 7 x f32>, tensor<f32> -> tensor<"N + 1" x 6 x f32>
  %2 = graph.pad %x, %0 {high = #graph.dims<0, 1>, low = #graph.dims<0, "-4">, interior = array<i64: 0, 2>} : tensor<N x 7 x f32>, tensor<f32> -> tensor<N x 16 x f32>
  func.return %1, %2 : tensor<"N + 1" x 6 x f32>, tensor<N x 16 x f32>
}
// -----
builtin.module {
  func.func @main(%x: tensor<N x 7 x f32>) -> (tensor<"N + 1" x 6 x f32>, tensor<N x 16 x f32>) {
    %0 = graph.constant "0.5" : tensor<f32>
    %1 = graph.slice %x {starts = #graph.dims<2, 2>, steps = array<i64: 1, 1>} : tensor<N x 7 x f32> -> tensor<"max(2, N) - 2" x 5 x f32>
    %2 = graph.pad %1, %0 {low = #graph.dims<0, 0>, high = #graph.dims<"N - max(2, N) + 3", 1>} : tensor<"max(2, N) - 2" x 5 x f32>, tensor<f32> -> tensor<"N + 1" x 6 x f32>
    %3 = graph.slice %x {starts = #graph.dims<0, 2>, steps = array<i64: 1, 1>} : tensor<N x 7 x f32> -> tensor<N x 5 x f32>
    %4 = graph.pad %3, %0 {low = #graph.dims<0, 2>, high = #graph.dims<0, 1>, interior = array<i64: 0, 2>} : tensor<N x 5 x f32>, tensor<f32> -> tensor<N x 16 x f32>
    func.return %2, %4 : tensor<"N + 1" x 6 x f32>, tensor<N x 16 x f32>
  }
}

// PASSES: data-parallel{varying=x}
// A parameter becomes a copy of each rank where it meets the batch, a penalty of parameters alone once it is added to what each rank has; the loss is a mean over the ranks.
func.func @main(%x: tensor<3x4xf32> {graph.name = "x"}, %w: tensor<2x4xf32> {graph.name = "w"}) -> (tensor<f32> {graph.name = "loss"}) {
  %t = graph.transpose %w {permutation = array<i64: 1, 0>} : tensor<2x4xf32> -> tensor<4x2xf32>
  %y = graph.contract %x, %t "mk,kn->mn" : tensor<3x4xf32>, tensor<4x2xf32> -> tensor<3x2xf32>
  %l = graph.reduce %y "sum" {axes = array<i64: 0, 1>} : tensor<3x2xf32> -> tensor<f32>
  %s = graph.mul %w, %w : tensor<2x4xf32>, tensor<2x4xf32> -> tensor<2x4xf32>
  %p = graph.reduce %s "sum" {axes = array<i64: 0, 1>} : tensor<2x4xf32> -> tensor<f32>
  %loss = graph.add %l, %p : tensor<f32>, tensor<f32> -> tensor<f32>
  func.return %loss : tensor<f32>
}
// -----
builtin.module {
  func.func @main(%x: tensor<3x4xf32> {graph.name = "x"}, %w: tensor<2x4xf32> {graph.name = "w"}) -> (tensor<f32> {graph.name = "loss"}) {
    %t = graph.transpose %w {permutation = array<i64: 1, 0>} : tensor<2x4xf32> -> tensor<4x2xf32>
    %0 = graph.replicate %w : tensor<2x4xf32> -> tensor<2x4xf32>
    %t_1 = graph.transpose %0 {permutation = array<i64: 1, 0>} : tensor<2x4xf32> -> tensor<4x2xf32>
    %y = graph.contract %x, %t_1 "mk,kn->mn" : tensor<3x4xf32>, tensor<4x2xf32> -> tensor<3x2xf32>
    %l = graph.reduce %y "sum" {axes = array<i64: 0, 1>} : tensor<3x2xf32> -> tensor<f32>
    %s = graph.mul %w, %w : tensor<2x4xf32>
    %p = graph.reduce %s "sum" {axes = array<i64: 0, 1>} : tensor<2x4xf32> -> tensor<f32>
    %1 = graph.replicate %p : tensor<f32> -> tensor<f32>
    %loss = graph.add %l, %1 : tensor<f32>
    %2 = graph.all_reduce %loss : tensor<f32> -> tensor<f32>
    %3 = graph.constant "1.0" : tensor<f32>
    %4 = graph.mul %2, %3 : tensor<f32>
    func.return %4 : tensor<f32>
  }
}

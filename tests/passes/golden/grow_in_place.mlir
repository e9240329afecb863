// PASSES: grow-in-place,cse
// A result that begins with an argument says so; readers of either stay as they are.
func.func @main(%past: tensor<P x 4 x f32> {graph.name = "past"}, %x: tensor<2x4xf32> {graph.name = "x"}) -> (tensor<"P + 2" x 4 x f32> {graph.name = "present"}, tensor<2x4xf32> {graph.name = "y", graph.alias = "x"}) {
  %all = graph.concatenate %past, %x {axis = 0 : i64} : tensor<P x 4 x f32>, tensor<2x4xf32> -> tensor<"P + 2" x 4 x f32>
  %y = graph.neg %x : tensor<2x4xf32>
  return %all, %y : tensor<"P + 2" x 4 x f32>, tensor<2x4xf32>
}
// -----
builtin.module {
  func.func @main(%past: tensor<P x 4 x f32> {graph.name = "past"}, %x: tensor<2x4xf32> {graph.name = "x"}) -> (tensor<"P + 2" x 4 x f32> {graph.name = "present", graph.front = "past"}, tensor<2x4xf32> {graph.name = "y", graph.alias = "x"}) {
    %all = graph.concatenate %past, %x {axis = 0 : i64} : tensor<P x 4 x f32>, tensor<2x4xf32> -> tensor<"P + 2" x 4 x f32>
    %y = graph.neg %x : tensor<2x4xf32>
    func.return %all, %y : tensor<"P + 2" x 4 x f32>, tensor<2x4xf32>
  }
}

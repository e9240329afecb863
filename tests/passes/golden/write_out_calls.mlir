// PASSES: decompose,cse,dce
// A call is written out and meets its equals; one with checkpoint stays apart, and a stop of gradients is nothing.
func.func @main(%x: tensor<N x 3 x f32>) -> (tensor<N x 3 x f32>, tensor<N x 3 x f32>) {
  %0 = graph.exp %x : tensor<N x 3 x f32>
  %1 = "graph.call"(%x) <{callee = "once"}> ({
  ^bb0(%a: tensor<N x 3 x f32>):
    %2 = graph.exp %a : tensor<N x 3 x f32>
    %3 = graph.silu %2 : tensor<N x 3 x f32> -> tensor<N x 3 x f32>
    graph.yield %3 : tensor<N x 3 x f32>
  }) : (tensor<N x 3 x f32>) -> tensor<N x 3 x f32>
  %4 = "graph.call"(%x) <{callee = "again", checkpoint}> ({
  ^bb0(%b: tensor<N x 3 x f32>):
    %5 = graph.exp %b : tensor<N x 3 x f32>
    graph.yield %5 : tensor<N x 3 x f32>
  }) : (tensor<N x 3 x f32>) -> tensor<N x 3 x f32>
  %6 = graph.stop_gradient %4 : tensor<N x 3 x f32> -> tensor<N x 3 x f32>
  %7 = graph.add %0, %1 : tensor<N x 3 x f32>
  func.return %7, %6 : tensor<N x 3 x f32>, tensor<N x 3 x f32>
}
// -----
builtin.module {
  func.func @main(%x: tensor<N x 3 x f32>) -> (tensor<N x 3 x f32>, tensor<N x 3 x f32>) {
    %0 = graph.exp %x : tensor<N x 3 x f32>
    %1 = graph.sigmoid %0 : tensor<N x 3 x f32>
    %2 = graph.mul %0, %1 : tensor<N x 3 x f32>
    %3 = "graph.call"(%x) <{callee = "again", checkpoint}> ({
    ^bb0(%b: tensor<N x 3 x f32>):
      %4 = graph.exp %b : tensor<N x 3 x f32>
      graph.yield %4 : tensor<N x 3 x f32>
    }) : (tensor<N x 3 x f32>) -> tensor<N x 3 x f32>
    %4 = graph.add %0, %2 : tensor<N x 3 x f32>
    func.return %4, %3 : tensor<N x 3 x f32>, tensor<N x 3 x f32>
  }
}

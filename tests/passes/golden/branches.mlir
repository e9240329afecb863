// PASSES: simplify,dce
// A few element-wise ops in both bodies become a select; a product keeps its branch, which takes only what it reads.
func.func @main(%c: tensor<i1>, %x: tensor<3x3xf32>, %y: tensor<3x3xf32>) -> (tensor<3x3xf32>, tensor<3x3xf32>) {
  %0 = "graph.if"(%c, %x, %y) ({
  ^bb0(%1: tensor<3x3xf32>, %2: tensor<3x3xf32>):
    %3 = graph.exp %1 : tensor<3x3xf32>
    graph.yield %3 : tensor<3x3xf32>
  }, {
  ^bb1(%4: tensor<3x3xf32>, %5: tensor<3x3xf32>):
    graph.yield %5 : tensor<3x3xf32>
  }) : (tensor<i1>, tensor<3x3xf32>, tensor<3x3xf32>) -> tensor<3x3xf32>
  %6 = "graph.if"(%c, %x, %y) ({
  ^bb2(%7: tensor<3x3xf32>, %8: tensor<3x3xf32>):
    %9 = graph.contract %7, %7 "mk,kn->mn" : tensor<3x3xf32>, tensor<3x3xf32> -> tensor<3x3xf32>
    graph.yield %9 : tensor<3x3xf32>
  }, {
  ^bb3(%10: tensor<3x3xf32>, %11: tensor<3x3xf32>):
    %12 = graph.neg %11 : tensor<3x3xf32>
    graph.yield %10 : tensor<3x3xf32>
  }) : (tensor<i1>, tensor<3x3xf32>, tensor<3x3xf32>) -> tensor<3x3xf32>
  func.return %0, %6 : tensor<3x3xf32>, tensor<3x3xf32>
}
// -----
builtin.module {
  func.func @main(%c: tensor<i1>, %x: tensor<3x3xf32>, %y: tensor<3x3xf32>) -> (tensor<3x3xf32>, tensor<3x3xf32>) {
    %0 = graph.exp %x : tensor<3x3xf32>
    %1 = graph.broadcast %c {axes = array<i64>} : tensor<i1> -> tensor<3x3xi1>
    %2 = graph.select %1, %0, %y : tensor<3x3xi1>, tensor<3x3xf32>, tensor<3x3xf32> -> tensor<3x3xf32>
    %3 = "graph.if"(%c, %x) ({
    ^bb0(%4: tensor<3x3xf32>):
      %5 = graph.contract %4, %4 "mk,kn->mn" : tensor<3x3xf32>, tensor<3x3xf32> -> tensor<3x3xf32>
      graph.yield %5 : tensor<3x3xf32>
    }, {
    ^bb0(%6: tensor<3x3xf32>):
      graph.yield %6 : tensor<3x3xf32>
    }) : (tensor<i1>, tensor<3x3xf32>) -> tensor<3x3xf32>
    func.return %2, %3 : tensor<3x3xf32>, tensor<3x3xf32>
  }
}

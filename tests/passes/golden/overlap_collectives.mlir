// PASSES: overlap-collectives
// A sum starts behind what it sums up, not before the one that started before it, and is waited for in front of its first reader.
func.func @main(%x: tensor<2xf32> {graph.name = "x"}) -> (tensor<2xf32> {graph.name = "y"}, tensor<2xf32> {graph.name = "z"}) {
  %a = graph.exp %x : tensor<2xf32> -> tensor<2xf32>
  %b = graph.neg %x : tensor<2xf32> -> tensor<2xf32>
  %c = graph.exp %a : tensor<2xf32> -> tensor<2xf32>
  %sb = graph.all_reduce %b : tensor<2xf32> -> tensor<2xf32>
  %sa = graph.all_reduce %a : tensor<2xf32> -> tensor<2xf32>
  %y = graph.mul %c, %sa : tensor<2xf32>, tensor<2xf32> -> tensor<2xf32>
  func.return %y, %sb : tensor<2xf32>, tensor<2xf32>
}
// -----
builtin.module {
  func.func @main(%x: tensor<2xf32> {graph.name = "x"}) -> (tensor<2xf32> {graph.name = "y"}, tensor<2xf32> {graph.name = "z"}) {
    %a = graph.exp %x : tensor<2xf32>
    %b = graph.neg %x : tensor<2xf32>
    %0 = graph.all_reduce_start %b : tensor<2xf32> -> tensor<2xf32>
    %1 = graph.all_reduce_start %a : tensor<2xf32> -> tensor<2xf32>
    %c = graph.exp %a : tensor<2xf32>
    %sa = graph.all_reduce_wait %1 : tensor<2xf32> -> tensor<2xf32>
    %y = graph.mul %c, %sa : tensor<2xf32>
    %sb = graph.all_reduce_wait %0 : tensor<2xf32> -> tensor<2xf32>
    func.return %y, %sb : tensor<2xf32>, tensor<2xf32>
  }
}

// PASSES: pack-loop-operands
// The matrix that every step multiplies the state by lies in panels of 32 columns in front of the loop; what follows the product takes their shape.
builtin.module @main attributes {graph.symbols = {T = [0 : i64], N = [0 : i64]}} {
  func.func @main(%x: tensor<?x?x64xf32, #graph.dims<["T", "N", ""]>> {graph.name = "x"}, %h: tensor<?x64xf32, #graph.dims<["N", ""]>> {graph.name = "h"}, %w: tensor<64x64xf32> {graph.name = "w"}) -> (tensor<?x?x64xf32, #graph.dims<["T", "N", ""]>> {graph.name = "y"}) {
    %0, %1 = "graph.scan"(%h, %x, %w) <{carried = 1 : i64, scanned = 1 : i64, length = #graph.dims<["T"]>, reverse = false}> ({
    ^bb0(%2: tensor<?x64xf32, #graph.dims<["N", ""]>>, %3: tensor<?x64xf32, #graph.dims<["N", ""]>>, %4: tensor<64x64xf32>):
      %5 = graph.contract %2, %4 "bh,gh->bg" : tensor<?x64xf32, #graph.dims<["N", ""]>>, tensor<64x64xf32> -> tensor<?x64xf32, #graph.dims<["N", ""]>>
      %6 = graph.add %5, %3 : tensor<?x64xf32, #graph.dims<["N", ""]>>, tensor<?x64xf32, #graph.dims<["N", ""]>> -> tensor<?x64xf32, #graph.dims<["N", ""]>>
      %7 = graph.tanh %6 : tensor<?x64xf32, #graph.dims<["N", ""]>> -> tensor<?x64xf32, #graph.dims<["N", ""]>>
      graph.yield %7, %7 : tensor<?x64xf32, #graph.dims<["N", ""]>>, tensor<?x64xf32, #graph.dims<["N", ""]>>
    }) : (tensor<?x64xf32, #graph.dims<["N", ""]>>, tensor<?x?x64xf32, #graph.dims<["T", "N", ""]>>, tensor<64x64xf32>) -> (tensor<?x64xf32, #graph.dims<["N", ""]>>, tensor<?x?x64xf32, #graph.dims<["T", "N", ""]>>)
    func.return %1 : tensor<?x?x64xf32, #graph.dims<["T", "N", ""]>>
  }
}
// -----
builtin.module @main attributes {graph.symbols = {T = [0 : i64], N = [0 : i64]}} {
  func.func @main(%x: tensor<?x?x64xf32, #graph.dims<["T", "N", ""]>> {graph.name = "x"}, %h: tensor<?x64xf32, #graph.dims<["N", ""]>> {graph.name = "h"}, %w: tensor<64x64xf32> {graph.name = "w"}) -> (tensor<?x?x64xf32, #graph.dims<["T", "N", ""]>> {graph.name = "y"}) {
    %0 = graph.reshape %w : tensor<64x64xf32> -> tensor<2x32x64xf32>
    %1 = graph.transpose %0 {permutation = array<i64: 0, 2, 1>} : tensor<2x32x64xf32> -> tensor<2x64x32xf32>
    %2, %3 = "graph.scan"(%h, %x, %1) <{carried = 1 : i64, scanned = 1 : i64, length = #graph.dims<["T"]>, reverse = false}> ({
    ^bb0(%4: tensor<?x64xf32, #graph.dims<["N", ""]>>, %5: tensor<?x64xf32, #graph.dims<["N", ""]>>, %6: tensor<2x64x32xf32>):
      %7 = graph.contract %4, %6 "bh,ahg->bag" : tensor<?x64xf32, #graph.dims<["N", ""]>>, tensor<2x64x32xf32> -> tensor<?x2x32xf32, #graph.dims<["N", "", ""]>>
      %8 = graph.reshape %5 : tensor<?x64xf32, #graph.dims<["N", ""]>> -> tensor<?x2x32xf32, #graph.dims<["N", "", ""]>>
      %9 = graph.add %7, %8 : tensor<?x2x32xf32, #graph.dims<["N", "", ""]>>, tensor<?x2x32xf32, #graph.dims<["N", "", ""]>> -> tensor<?x2x32xf32, #graph.dims<["N", "", ""]>>
      %10 = graph.tanh %9 : tensor<?x2x32xf32, #graph.dims<["N", "", ""]>> -> tensor<?x2x32xf32, #graph.dims<["N", "", ""]>>
      %11 = graph.reshape %10 : tensor<?x2x32xf32, #graph.dims<["N", "", ""]>> -> tensor<?x64xf32, #graph.dims<["N", ""]>>
      graph.yield %11, %11 : tensor<?x64xf32, #graph.dims<["N", ""]>>, tensor<?x64xf32, #graph.dims<["N", ""]>>
    }) : (tensor<?x64xf32, #graph.dims<["N", ""]>>, tensor<?x?x64xf32, #graph.dims<["T", "N", ""]>>, tensor<2x64x32xf32>) -> (tensor<?x64xf32, #graph.dims<["N", ""]>>, tensor<?x?x64xf32, #graph.dims<["T", "N", ""]>>)
    func.return %3 : tensor<?x?x64xf32, #graph.dims<["T", "N", ""]>>
  }
}

// PASSES: select-layout,move-transposes,fold,simplify,dce
// Windows side by side: every element gives a 2x2 square.
func.func @main(%x: tensor<?x?x?x4xf32, #graph.dims<["N", "H", "W", ""]>>) -> (tensor<?x?x?x5xf32, #graph.dims<["N", "2*H", "2*W", ""]>>) {
  %0 = graph.transpose %x {permutation = array<i64: 0, 3, 1, 2>} : tensor<?x?x?x4xf32, #graph.dims<["N", "H", "W", ""]>> -> tensor<?x4x?x?xf32, #graph.dims<["N", "", "H", "W"]>>
  %1 = graph.weight @up : tensor<5x4x2x2xf32>
  %2 = graph.convolution %0, %1 "nc01,oc01->no01" {strides = array<i64: 1, 1>, low = #graph.dims<["1", "1"]>, high = #graph.dims<["1", "1"]>, dilations = array<i64: 1, 1>, x_dilation = array<i64: 2, 2>} : tensor<?x4x?x?xf32, #graph.dims<["N", "", "H", "W"]>>, tensor<5x4x2x2xf32> -> tensor<?x5x?x?xf32, #graph.dims<["N", "", "2*H", "2*W"]>>
  %3 = graph.transpose %2 {permutation = array<i64: 0, 2, 3, 1>} : tensor<?x5x?x?xf32, #graph.dims<["N", "", "2*H", "2*W"]>> -> tensor<?x?x?x5xf32, #graph.dims<["N", "2*H", "2*W", ""]>>
  func.return %3 : tensor<?x?x?x5xf32, #graph.dims<["N", "2*H", "2*W", ""]>>
}
// -----
builtin.module {
  func.func @main(%x: tensor<?x?x?x4xf32, #graph.dims<["N", "H", "W", ""]>>) -> tensor<?x?x?x5xf32, #graph.dims<["N", "2*H", "2*W", ""]>> {
    %0 = graph.weight @up.folded : tensor<5x4x2x2xf32>
    %1 = graph.contract %x, %0 "nabc,ocAB->naAbBo" : tensor<?x?x?x4xf32, #graph.dims<["N", "H", "W", ""]>>, tensor<5x4x2x2xf32> -> tensor<?x?x2x?x2x5xf32, #graph.dims<["N", "H", "", "W", "", ""]>>
    %2 = graph.reshape %1 : tensor<?x?x2x?x2x5xf32, #graph.dims<["N", "H", "", "W", "", ""]>> -> tensor<?x?x?x5xf32, #graph.dims<["N", "2*H", "2*W", ""]>>
    func.return %2 : tensor<?x?x?x5xf32, #graph.dims<["N", "2*H", "2*W", ""]>>
  }
}

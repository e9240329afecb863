// PASSES: select-layout,move-transposes,fold,dce
// A residual block in channels last: one transpose in, one out.
func.func @main(%x: tensor<?x3x?x?xf32, #graph.dims<["N", "", "H", "W"]>>) -> (tensor<?x8x?x?xf32, #graph.dims<["N", "", "(H + 1)//2", "(W + 1)//2"]>>) {
  %0 = graph.weight @a : tensor<8x3x3x3xf32>
  %1 = graph.convolution %x, %0 "nc01,oc01->no01" {strides = array<i64: 1, 1>, low = #graph.dims<["1", "1"]>, high = #graph.dims<["1", "1"]>, dilations = array<i64: 1, 1>, x_dilation = array<i64: 1, 1>} : tensor<?x3x?x?xf32, #graph.dims<["N", "", "H", "W"]>>, tensor<8x3x3x3xf32> -> tensor<?x8x?x?xf32, #graph.dims<["N", "", "H", "W"]>>
  %2 = graph.relu %1 : tensor<?x8x?x?xf32, #graph.dims<["N", "", "H", "W"]>> -> tensor<?x8x?x?xf32, #graph.dims<["N", "", "H", "W"]>>
  %3 = graph.weight @b : tensor<8x8x3x3xf32>
  %4 = graph.convolution %2, %3 "nc01,oc01->no01" {strides = array<i64: 1, 1>, low = #graph.dims<["1", "1"]>, high = #graph.dims<["1", "1"]>, dilations = array<i64: 1, 1>, x_dilation = array<i64: 1, 1>} : tensor<?x8x?x?xf32, #graph.dims<["N", "", "H", "W"]>>, tensor<8x8x3x3xf32> -> tensor<?x8x?x?xf32, #graph.dims<["N", "", "H", "W"]>>
  %5 = graph.add %4, %2 : tensor<?x8x?x?xf32, #graph.dims<["N", "", "H", "W"]>>, tensor<?x8x?x?xf32, #graph.dims<["N", "", "H", "W"]>> -> tensor<?x8x?x?xf32, #graph.dims<["N", "", "H", "W"]>>
  %6 = graph.relu %5 : tensor<?x8x?x?xf32, #graph.dims<["N", "", "H", "W"]>> -> tensor<?x8x?x?xf32, #graph.dims<["N", "", "H", "W"]>>
  %7 = graph.reduce_window %6 "max" {window = array<i64: 1, 1, 3, 3>, strides = array<i64: 1, 1, 2, 2>, low = #graph.dims<["0", "0", "1", "1"]>, high = #graph.dims<["0", "0", "1", "1"]>, dilations = array<i64: 1, 1, 1, 1>} : tensor<?x8x?x?xf32, #graph.dims<["N", "", "H", "W"]>> -> tensor<?x8x?x?xf32, #graph.dims<["N", "", "(H + 1)//2", "(W + 1)//2"]>>
  func.return %7 : tensor<?x8x?x?xf32, #graph.dims<["N", "", "(H + 1)//2", "(W + 1)//2"]>>
}
// -----
builtin.module {
  func.func @main(%x: tensor<?x3x?x?xf32, #graph.dims<["N", "", "H", "W"]>>) -> tensor<?x8x?x?xf32, #graph.dims<["N", "", "(H + 1)//2", "(W + 1)//2"]>> {
    %0 = graph.transpose %x {permutation = array<i64: 0, 2, 3, 1>} : tensor<?x3x?x?xf32, #graph.dims<["N", "", "H", "W"]>> -> tensor<?x?x?x3xf32, #graph.dims<["N", "H", "W", ""]>>
    %1 = graph.weight @a.transposed : tensor<3x3x3x8xf32>
    %2 = graph.convolution %0, %1 "n01c,01co->n01o" {strides = array<i64: 1, 1>, low = #graph.dims<["1", "1"]>, high = #graph.dims<["1", "1"]>, dilations = array<i64: 1, 1>, x_dilation = array<i64: 1, 1>} : tensor<?x?x?x3xf32, #graph.dims<["N", "H", "W", ""]>>, tensor<3x3x3x8xf32> -> tensor<?x?x?x8xf32, #graph.dims<["N", "H", "W", ""]>>
    %3 = graph.relu %2 : tensor<?x?x?x8xf32, #graph.dims<["N", "H", "W", ""]>> -> tensor<?x?x?x8xf32, #graph.dims<["N", "H", "W", ""]>>
    %4 = graph.weight @b.transposed : tensor<3x3x8x8xf32>
    %5 = graph.convolution %3, %4 "n01c,01co->n01o" {strides = array<i64: 1, 1>, low = #graph.dims<["1", "1"]>, high = #graph.dims<["1", "1"]>, dilations = array<i64: 1, 1>, x_dilation = array<i64: 1, 1>} : tensor<?x?x?x8xf32, #graph.dims<["N", "H", "W", ""]>>, tensor<3x3x8x8xf32> -> tensor<?x?x?x8xf32, #graph.dims<["N", "H", "W", ""]>>
    %6 = graph.add %5, %3 : tensor<?x?x?x8xf32, #graph.dims<["N", "H", "W", ""]>>, tensor<?x?x?x8xf32, #graph.dims<["N", "H", "W", ""]>> -> tensor<?x?x?x8xf32, #graph.dims<["N", "H", "W", ""]>>
    %7 = graph.relu %6 : tensor<?x?x?x8xf32, #graph.dims<["N", "H", "W", ""]>> -> tensor<?x?x?x8xf32, #graph.dims<["N", "H", "W", ""]>>
    %8 = graph.reduce_window %7 "max" {window = array<i64: 1, 3, 3, 1>, strides = array<i64: 1, 2, 2, 1>, low = #graph.dims<["0", "1", "1", "0"]>, high = #graph.dims<["0", "1", "1", "0"]>, dilations = array<i64: 1, 1, 1, 1>} : tensor<?x?x?x8xf32, #graph.dims<["N", "H", "W", ""]>> -> tensor<?x?x?x8xf32, #graph.dims<["N", "(H + 1)//2", "(W + 1)//2", ""]>>
    %9 = graph.transpose %8 {permutation = array<i64: 0, 3, 1, 2>} : tensor<?x?x?x8xf32, #graph.dims<["N", "(H + 1)//2", "(W + 1)//2", ""]>> -> tensor<?x8x?x?xf32, #graph.dims<["N", "", "(H + 1)//2", "(W + 1)//2"]>>
    func.return %9 : tensor<?x8x?x?xf32, #graph.dims<["N", "", "(H + 1)//2", "(W + 1)//2"]>>
  }
}

// PASSES: select-layout,move-transposes,dce
// A window of more taps than it has positions is an ordinary one.
func.func @main(%x: tensor<?x3x32x32xf32, #graph.dims<["N", "", "", ""]>>, %w: tensor<16x3x16x16xf32>) -> (tensor<?x16x2x2xf32, #graph.dims<["N", "", "", ""]>>) {
  %0 = graph.convolution %x, %w "nc01,oc01->no01" {strides = array<i64: 16, 16>, low = #graph.dims<["0", "0"]>, high = #graph.dims<["0", "0"]>, dilations = array<i64: 1, 1>, x_dilation = array<i64: 1, 1>} : tensor<?x3x32x32xf32, #graph.dims<["N", "", "", ""]>>, tensor<16x3x16x16xf32> -> tensor<?x16x2x2xf32, #graph.dims<["N", "", "", ""]>>
  func.return %0 : tensor<?x16x2x2xf32, #graph.dims<["N", "", "", ""]>>
}
// -----
builtin.module {
  func.func @main(%x: tensor<?x3x32x32xf32, #graph.dims<["N", "", "", ""]>>, %w: tensor<16x3x16x16xf32>) -> tensor<?x16x2x2xf32, #graph.dims<["N", "", "", ""]>> {
    %0 = graph.transpose %x {permutation = array<i64: 0, 2, 3, 1>} : tensor<?x3x32x32xf32, #graph.dims<["N", "", "", ""]>> -> tensor<?x32x32x3xf32, #graph.dims<["N", "", "", ""]>>
    %1 = graph.transpose %w {permutation = array<i64: 2, 3, 1, 0>} : tensor<16x3x16x16xf32> -> tensor<16x16x3x16xf32>
    %2 = graph.convolution %0, %1 "n01c,01co->n01o" {strides = array<i64: 16, 16>, low = #graph.dims<["0", "0"]>, high = #graph.dims<["0", "0"]>, dilations = array<i64: 1, 1>, x_dilation = array<i64: 1, 1>} : tensor<?x32x32x3xf32, #graph.dims<["N", "", "", ""]>>, tensor<16x16x3x16xf32> -> tensor<?x2x2x16xf32, #graph.dims<["N", "", "", ""]>>
    %3 = graph.transpose %2 {permutation = array<i64: 0, 3, 1, 2>} : tensor<?x2x2x16xf32, #graph.dims<["N", "", "", ""]>> -> tensor<?x16x2x2xf32, #graph.dims<["N", "", "", ""]>>
    func.return %3 : tensor<?x16x2x2xf32, #graph.dims<["N", "", "", ""]>>
  }
}

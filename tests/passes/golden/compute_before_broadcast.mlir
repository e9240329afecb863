// PASSES: simplify
// What is repeated is computed once.
func.func @main(%x: tensor<?xf32, #graph.dims<["N"]>>) -> (tensor<?x4x6xf32, #graph.dims<["N", "", ""]>>) {
  %0 = graph.broadcast %x {axes = array<i64: 0>} : tensor<?xf32, #graph.dims<["N"]>> -> tensor<?x4x6xf32, #graph.dims<["N", "", ""]>>
  %1 = graph.weight @w : tensor<4xf32>
  %2 = graph.broadcast %1 {axes = array<i64: 1>} : tensor<4xf32> -> tensor<?x4x6xf32, #graph.dims<["N", "", ""]>>
  %3 = graph.constant "2.0" : tensor<f32>
  %4 = graph.broadcast %3 {axes = array<i64>} : tensor<f32> -> tensor<?x4x6xf32, #graph.dims<["N", "", ""]>>
  %5 = graph.mul %2, %4 : tensor<?x4x6xf32, #graph.dims<["N", "", ""]>>, tensor<?x4x6xf32, #graph.dims<["N", "", ""]>> -> tensor<?x4x6xf32, #graph.dims<["N", "", ""]>>
  %6 = graph.add %0, %5 : tensor<?x4x6xf32, #graph.dims<["N", "", ""]>>, tensor<?x4x6xf32, #graph.dims<["N", "", ""]>> -> tensor<?x4x6xf32, #graph.dims<["N", "", ""]>>
  %7 = graph.tanh %6 : tensor<?x4x6xf32, #graph.dims<["N", "", ""]>> -> tensor<?x4x6xf32, #graph.dims<["N", "", ""]>>
  func.return %7 : tensor<?x4x6xf32, #graph.dims<["N", "", ""]>>
}
// -----
builtin.module {
  func.func @main(%x: tensor<?xf32, #graph.dims<["N"]>>) -> tensor<?x4x6xf32, #graph.dims<["N", "", ""]>> {
    %0 = graph.weight @w : tensor<4xf32>
    %1 = graph.constant "2.0" : tensor<f32>
    %2 = graph.broadcast %1 {axes = array<i64>} : tensor<f32> -> tensor<4xf32>
    %3 = graph.mul %0, %2 : tensor<4xf32>, tensor<4xf32> -> tensor<4xf32>
    %4 = graph.broadcast %x {axes = array<i64: 0>} : tensor<?xf32, #graph.dims<["N"]>> -> tensor<?x4xf32, #graph.dims<["N", ""]>>
    %5 = graph.broadcast %3 {axes = array<i64: 1>} : tensor<4xf32> -> tensor<?x4xf32, #graph.dims<["N", ""]>>
    %6 = graph.add %4, %5 : tensor<?x4xf32, #graph.dims<["N", ""]>>, tensor<?x4xf32, #graph.dims<["N", ""]>> -> tensor<?x4xf32, #graph.dims<["N", ""]>>
    %7 = graph.tanh %6 : tensor<?x4xf32, #graph.dims<["N", ""]>> -> tensor<?x4xf32, #graph.dims<["N", ""]>>
    %8 = graph.broadcast %7 {axes = array<i64: 0, 1>} : tensor<?x4xf32, #graph.dims<["N", ""]>> -> tensor<?x4x6xf32, #graph.dims<["N", "", ""]>>
    func.return %8 : tensor<?x4x6xf32, #graph.dims<["N", "", ""]>>
  }
}

// PASSES: merge-scales
// Queries and keys scaled by one factor each: one factor of the scores.
func.func @main(%q: tensor<?x?x8xf32, #graph.dims<["N", "S", ""]>>, %k: tensor<?x?x8xf32, #graph.dims<["N", "T", ""]>>) -> (tensor<?x2x?x?xf32, #graph.dims<["N", "", "S", "T"]>>) {
  %0 = graph.constant "0.5" : tensor<f32>
  %1 = graph.broadcast %0 {axes = array<i64>} : tensor<f32> -> tensor<?x?x8xf32, #graph.dims<["N", "T", ""]>>
  %2 = graph.mul %k, %1 : tensor<?x?x8xf32, #graph.dims<["N", "T", ""]>>, tensor<?x?x8xf32, #graph.dims<["N", "T", ""]>> -> tensor<?x?x8xf32, #graph.dims<["N", "T", ""]>>
  %3 = graph.reshape %2 : tensor<?x?x8xf32, #graph.dims<["N", "T", ""]>> -> tensor<?x?x2x4xf32, #graph.dims<["N", "T", "", ""]>>
  %4 = graph.reshape %q : tensor<?x?x8xf32, #graph.dims<["N", "S", ""]>> -> tensor<?x?x2x4xf32, #graph.dims<["N", "S", "", ""]>>
  %5 = graph.constant "0.25" : tensor<f32>
  %6 = graph.broadcast %5 {axes = array<i64>} : tensor<f32> -> tensor<?x?x2x4xf32, #graph.dims<["N", "S", "", ""]>>
  %7 = graph.mul %4, %6 : tensor<?x?x2x4xf32, #graph.dims<["N", "S", "", ""]>>, tensor<?x?x2x4xf32, #graph.dims<["N", "S", "", ""]>> -> tensor<?x?x2x4xf32, #graph.dims<["N", "S", "", ""]>>
  %8 = graph.contract %7, %3 "bshd,bthd->bhst" : tensor<?x?x2x4xf32, #graph.dims<["N", "S", "", ""]>>, tensor<?x?x2x4xf32, #graph.dims<["N", "T", "", ""]>> -> tensor<?x2x?x?xf32, #graph.dims<["N", "", "S", "T"]>>
  func.return %8 : tensor<?x2x?x?xf32, #graph.dims<["N", "", "S", "T"]>>
}
// -----
builtin.module {
  func.func @main(%q: tensor<?x?x8xf32, #graph.dims<["N", "S", ""]>>, %k: tensor<?x?x8xf32, #graph.dims<["N", "T", ""]>>) -> tensor<?x2x?x?xf32, #graph.dims<["N", "", "S", "T"]>> {
    %0 = graph.reshape %q : tensor<?x?x8xf32, #graph.dims<["N", "S", ""]>> -> tensor<?x?x2x4xf32, #graph.dims<["N", "S", "", ""]>>
    %1 = graph.reshape %k : tensor<?x?x8xf32, #graph.dims<["N", "T", ""]>> -> tensor<?x?x2x4xf32, #graph.dims<["N", "T", "", ""]>>
    %2 = graph.contract %0, %1 "bshd,bthd->bhst" : tensor<?x?x2x4xf32, #graph.dims<["N", "S", "", ""]>>, tensor<?x?x2x4xf32, #graph.dims<["N", "T", "", ""]>> -> tensor<?x2x?x?xf32, #graph.dims<["N", "", "S", "T"]>>
    %3 = graph.constant "0.125" : tensor<f32>
    %4 = graph.broadcast %3 {axes = array<i64>} : tensor<f32> -> tensor<?x2x?x?xf32, #graph.dims<["N", "", "S", "T"]>>
    %5 = graph.mul %2, %4 : tensor<?x2x?x?xf32, #graph.dims<["N", "", "S", "T"]>>, tensor<?x2x?x?xf32, #graph.dims<["N", "", "S", "T"]>> -> tensor<?x2x?x?xf32, #graph.dims<["N", "", "S", "T"]>>
    func.return %5 : tensor<?x2x?x?xf32, #graph.dims<["N", "", "S", "T"]>>
  }
}

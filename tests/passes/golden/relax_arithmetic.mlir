// PASSES: relax-arithmetic,dce
// Products instead of divisions, one constant factor instead of two.
func.func @main(%x: tensor<?x5xf32, #graph.dims<["N", ""]>>) -> (tensor<?x5xf32, #graph.dims<["N", ""]>>, tensor<?x5xf32, #graph.dims<["N", ""]>>) {
  %c = graph.constant "3.0" : tensor<f32>
  %b = graph.broadcast %c {axes = array<i64>} : tensor<f32> -> tensor<?x5xf32, #graph.dims<["N", ""]>>
  %d = graph.div %x, %b : tensor<?x5xf32, #graph.dims<["N", ""]>>, tensor<?x5xf32, #graph.dims<["N", ""]>> -> tensor<?x5xf32, #graph.dims<["N", ""]>>
  %m = graph.mul %d, %b : tensor<?x5xf32, #graph.dims<["N", ""]>>, tensor<?x5xf32, #graph.dims<["N", ""]>> -> tensor<?x5xf32, #graph.dims<["N", ""]>>
  %s = graph.mul %x, %x : tensor<?x5xf32, #graph.dims<["N", ""]>>, tensor<?x5xf32, #graph.dims<["N", ""]>> -> tensor<?x5xf32, #graph.dims<["N", ""]>>
  %r = graph.reduce %s "sum" {axes = array<i64: 1>} : tensor<?x5xf32, #graph.dims<["N", ""]>> -> tensor<?xf32, #graph.dims<["N"]>>
  %q = graph.sqrt %r : tensor<?xf32, #graph.dims<["N"]>> -> tensor<?xf32, #graph.dims<["N"]>>
  %w = graph.broadcast %q {axes = array<i64: 0>} : tensor<?xf32, #graph.dims<["N"]>> -> tensor<?x5xf32, #graph.dims<["N", ""]>>
  %n = graph.div %m, %w : tensor<?x5xf32, #graph.dims<["N", ""]>>, tensor<?x5xf32, #graph.dims<["N", ""]>> -> tensor<?x5xf32, #graph.dims<["N", ""]>>
  return %n, %m : tensor<?x5xf32, #graph.dims<["N", ""]>>, tensor<?x5xf32, #graph.dims<["N", ""]>>
}
// -----
builtin.module {
  func.func @main(%x: tensor<?x5xf32, #graph.dims<["N", ""]>>) -> (tensor<?x5xf32, #graph.dims<["N", ""]>>, tensor<?x5xf32, #graph.dims<["N", ""]>>) {
    %0 = graph.constant "1.0" : tensor<f32>
    %1 = graph.broadcast %0 {axes = array<i64>} : tensor<f32> -> tensor<?x5xf32, #graph.dims<["N", ""]>>
    %m = graph.mul %x, %1 : tensor<?x5xf32, #graph.dims<["N", ""]>>, tensor<?x5xf32, #graph.dims<["N", ""]>> -> tensor<?x5xf32, #graph.dims<["N", ""]>>
    %s = graph.mul %x, %x : tensor<?x5xf32, #graph.dims<["N", ""]>>, tensor<?x5xf32, #graph.dims<["N", ""]>> -> tensor<?x5xf32, #graph.dims<["N", ""]>>
    %r = graph.reduce %s "sum" {axes = array<i64: 1>} : tensor<?x5xf32, #graph.dims<["N", ""]>> -> tensor<?xf32, #graph.dims<["N"]>>
    %2 = graph.rsqrt %r : tensor<?xf32, #graph.dims<["N"]>> -> tensor<?xf32, #graph.dims<["N"]>>
    %3 = graph.broadcast %2 {axes = array<i64: 0>} : tensor<?xf32, #graph.dims<["N"]>> -> tensor<?x5xf32, #graph.dims<["N", ""]>>
    %n = graph.mul %m, %3 : tensor<?x5xf32, #graph.dims<["N", ""]>>, tensor<?x5xf32, #graph.dims<["N", ""]>> -> tensor<?x5xf32, #graph.dims<["N", ""]>>
    func.return %n, %m : tensor<?x5xf32, #graph.dims<["N", ""]>>, tensor<?x5xf32, #graph.dims<["N", ""]>>
  }
}

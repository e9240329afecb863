// PASSES: simplify
// Arithmetic that changes nothing, signed zeros included: x + 0.0 stays, because -0.0 + 0.0 is 0.0.
func.func @main(%x: tensor<?xf32, #graph.dims<["N"]>>, %i: tensor<?xi64, #graph.dims<["N"]>>) -> (tensor<?xf32, #graph.dims<["N"]>>, tensor<?xf32, #graph.dims<["N"]>>, tensor<?xf32, #graph.dims<["N"]>>, tensor<?xf32, #graph.dims<["N"]>>, tensor<?xi64, #graph.dims<["N"]>>, tensor<?xf32, #graph.dims<["N"]>>, tensor<?xf32, #graph.dims<["N"]>>) {
  %0 = graph.constant "1.0" : tensor<f32>
  %1 = graph.broadcast %0 {axes = array<i64>} : tensor<f32> -> tensor<?xf32, #graph.dims<["N"]>>
  %2 = graph.mul %x, %1 : tensor<?xf32, #graph.dims<["N"]>>, tensor<?xf32, #graph.dims<["N"]>> -> tensor<?xf32, #graph.dims<["N"]>>
  %3 = graph.constant "0.0" : tensor<f32>
  %4 = graph.broadcast %3 {axes = array<i64>} : tensor<f32> -> tensor<?xf32, #graph.dims<["N"]>>
  %5 = graph.sub %2, %4 : tensor<?xf32, #graph.dims<["N"]>>, tensor<?xf32, #graph.dims<["N"]>> -> tensor<?xf32, #graph.dims<["N"]>>
  %6 = graph.constant "-0.0" : tensor<f32>
  %7 = graph.broadcast %6 {axes = array<i64>} : tensor<f32> -> tensor<?xf32, #graph.dims<["N"]>>
  %8 = graph.add %x, %7 : tensor<?xf32, #graph.dims<["N"]>>, tensor<?xf32, #graph.dims<["N"]>> -> tensor<?xf32, #graph.dims<["N"]>>
  %9 = graph.constant "0.0" : tensor<f32>
  %10 = graph.broadcast %9 {axes = array<i64>} : tensor<f32> -> tensor<?xf32, #graph.dims<["N"]>>
  %11 = graph.add %x, %10 : tensor<?xf32, #graph.dims<["N"]>>, tensor<?xf32, #graph.dims<["N"]>> -> tensor<?xf32, #graph.dims<["N"]>>
  %12 = graph.constant "-inf" : tensor<f32>
  %13 = graph.broadcast %12 {axes = array<i64>} : tensor<f32> -> tensor<?xf32, #graph.dims<["N"]>>
  %14 = graph.maximum %x, %13 : tensor<?xf32, #graph.dims<["N"]>>, tensor<?xf32, #graph.dims<["N"]>> -> tensor<?xf32, #graph.dims<["N"]>>
  %15 = graph.constant "0" : tensor<i64>
  %16 = graph.broadcast %15 {axes = array<i64>} : tensor<i64> -> tensor<?xi64, #graph.dims<["N"]>>
  %17 = graph.add %i, %16 : tensor<?xi64, #graph.dims<["N"]>>, tensor<?xi64, #graph.dims<["N"]>> -> tensor<?xi64, #graph.dims<["N"]>>
  %18 = graph.constant "8.0" : tensor<f32>
  %19 = graph.broadcast %18 {axes = array<i64>} : tensor<f32> -> tensor<?xf32, #graph.dims<["N"]>>
  %20 = graph.div %x, %19 : tensor<?xf32, #graph.dims<["N"]>>, tensor<?xf32, #graph.dims<["N"]>> -> tensor<?xf32, #graph.dims<["N"]>>
  %21 = graph.constant "3.0" : tensor<f32>
  %22 = graph.broadcast %21 {axes = array<i64>} : tensor<f32> -> tensor<?xf32, #graph.dims<["N"]>>
  %23 = graph.div %x, %22 : tensor<?xf32, #graph.dims<["N"]>>, tensor<?xf32, #graph.dims<["N"]>> -> tensor<?xf32, #graph.dims<["N"]>>
  func.return %5, %8, %11, %14, %17, %20, %23 : tensor<?xf32, #graph.dims<["N"]>>, tensor<?xf32, #graph.dims<["N"]>>, tensor<?xf32, #graph.dims<["N"]>>, tensor<?xf32, #graph.dims<["N"]>>, tensor<?xi64, #graph.dims<["N"]>>, tensor<?xf32, #graph.dims<["N"]>>, tensor<?xf32, #graph.dims<["N"]>>
}
// -----
builtin.module {
  func.func @main(%x: tensor<?xf32, #graph.dims<["N"]>>, %i: tensor<?xi64, #graph.dims<["N"]>>) -> (tensor<?xf32, #graph.dims<["N"]>>, tensor<?xf32, #graph.dims<["N"]>>, tensor<?xf32, #graph.dims<["N"]>>, tensor<?xf32, #graph.dims<["N"]>>, tensor<?xi64, #graph.dims<["N"]>>, tensor<?xf32, #graph.dims<["N"]>>, tensor<?xf32, #graph.dims<["N"]>>) {
    %0 = graph.constant "0.0" : tensor<f32>
    %1 = graph.broadcast %0 {axes = array<i64>} : tensor<f32> -> tensor<?xf32, #graph.dims<["N"]>>
    %2 = graph.add %x, %1 : tensor<?xf32, #graph.dims<["N"]>>, tensor<?xf32, #graph.dims<["N"]>> -> tensor<?xf32, #graph.dims<["N"]>>
    %3 = graph.constant "0.125" : tensor<f32>
    %4 = graph.broadcast %3 {axes = array<i64>} : tensor<f32> -> tensor<?xf32, #graph.dims<["N"]>>
    %5 = graph.mul %x, %4 : tensor<?xf32, #graph.dims<["N"]>>, tensor<?xf32, #graph.dims<["N"]>> -> tensor<?xf32, #graph.dims<["N"]>>
    %6 = graph.constant "3.0" : tensor<f32>
    %7 = graph.broadcast %6 {axes = array<i64>} : tensor<f32> -> tensor<?xf32, #graph.dims<["N"]>>
    %8 = graph.div %x, %7 : tensor<?xf32, #graph.dims<["N"]>>, tensor<?xf32, #graph.dims<["N"]>> -> tensor<?xf32, #graph.dims<["N"]>>
    func.return %x, %x, %2, %x, %i, %5, %8 : tensor<?xf32, #graph.dims<["N"]>>, tensor<?xf32, #graph.dims<["N"]>>, tensor<?xf32, #graph.dims<["N"]>>, tensor<?xf32, #graph.dims<["N"]>>, tensor<?xi64, #graph.dims<["N"]>>, tensor<?xf32, #graph.dims<["N"]>>, tensor<?xf32, #graph.dims<["N"]>>
  }
}

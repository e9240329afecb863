// PASSES: fuse
// Symbolic rows as fuse leaves it: rows that are known when it runs, the square of each element.
builtin.module @main attributes {graph.symbols = {M = [0 : i64]}} {
  func.func @main(%x: tensor<M x 8 x f32> {graph.name = "x"}) -> (tensor<M x 8 x f32> {graph.name = "y"}) {
    %0 = graph.mul %x, %x : tensor<M x 8 x f32>
    func.return %0 : tensor<M x 8 x f32>
  }
}
// -----
builtin.module @main attributes {graph.symbols = {M = [0 : i64]}} {
  func.func @main(%x: tensor<M x 8 x f32> {graph.name = "x"}) -> (tensor<M x 8 x f32> {graph.name = "y"}) {
    %0 = graph.group "elementwise" (%x_1 = %x : tensor<M x 8 x f32>) -> tensor<M x 8 x f32> {
      %1 = graph.mul %x_1, %x_1 : tensor<M x 8 x f32>
      graph.yield %1 : tensor<M x 8 x f32>
    }
    func.return %0 : tensor<M x 8 x f32>
  }
}

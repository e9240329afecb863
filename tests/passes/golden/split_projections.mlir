// PASSES: split-projections,fold,dce
// Three slices of one product: three products with parts of the weight.
func.func @main(%x: tensor<N x S x 8 x f32>) -> (tensor<N x S x 2 x 4 x f32>) {
  %0 = graph.weight @qkv.weight : tensor<8x24xf32>
  %1 = graph.contract %x, %0 "abk,kn->abn" : tensor<N x S x 8 x f32>, tensor<8x24xf32> -> tensor<N x S x 24 x f32>
  %2 = graph.weight @qkv.bias : tensor<24xf32>
  %3 = graph.broadcast %2 {axes = array<i64: 2>} : tensor<24xf32> -> tensor<N x S x 24 x f32>
  %4 = graph.add %1, %3 : tensor<N x S x 24 x f32>
  %5 = graph.reshape %4 : tensor<N x S x 24 x f32> -> tensor<N x S x 6 x 4 x f32>
  %6 = graph.slice %5 {starts = #graph.dims<0, 0, 0, 0>, steps = array<i64: 1, 1, 1, 1>} : tensor<N x S x 6 x 4 x f32> -> tensor<N x S x 2 x 4 x f32>
  %7 = graph.slice %5 {starts = #graph.dims<0, 0, 2, 0>, steps = array<i64: 1, 1, 1, 1>} : tensor<N x S x 6 x 4 x f32> -> tensor<N x S x 2 x 4 x f32>
  %8 = graph.slice %5 {starts = #graph.dims<0, 0, 4, 0>, steps = array<i64: 1, 1, 1, 1>} : tensor<N x S x 6 x 4 x f32> -> tensor<N x S x 2 x 4 x f32>
  %9 = graph.contract %6, %7 "bshd,bthd->bhst" : tensor<N x S x 2 x 4 x f32>, tensor<N x S x 2 x 4 x f32> -> tensor<N x 2 x S x S x f32>
  %10 = graph.softmax %9 {axis = 3 : i64} : tensor<N x 2 x S x S x f32> -> tensor<N x 2 x S x S x f32>
  %11 = graph.contract %10, %8 "bhst,bthd->bshd" : tensor<N x 2 x S x S x f32>, tensor<N x S x 2 x 4 x f32> -> tensor<N x S x 2 x 4 x f32>
  func.return %11 : tensor<N x S x 2 x 4 x f32>
}
// -----
builtin.module {
  func.func @main(%x: tensor<N x S x 8 x f32>) -> tensor<N x S x 2 x 4 x f32> {
    %0 = graph.weight @qkv.weight.folded : tensor<8x8xf32>
    %1 = graph.contract %x, %0 "abk,kn->abn" : tensor<N x S x 8 x f32>, tensor<8x8xf32> -> tensor<N x S x 8 x f32>
    %2 = graph.constant "1.1758382, 0.9175252, -0.025719564, -0.44334897, 0.91466594, 0.49875435, -0.14332904, -0.44106853" : tensor<8xf32>
    %3 = graph.broadcast %2 {axes = array<i64: 2>} : tensor<8xf32> -> tensor<N x S x 8 x f32>
    %4 = graph.add %1, %3 : tensor<N x S x 8 x f32>
    %5 = graph.reshape %4 : tensor<N x S x 8 x f32> -> tensor<N x S x 2 x 4 x f32>
    %6 = graph.weight @qkv.weight.folded_1 : tensor<8x8xf32>
    %7 = graph.contract %x, %6 "abk,kn->abn" : tensor<N x S x 8 x f32>, tensor<8x8xf32> -> tensor<N x S x 8 x f32>
    %8 = graph.constant "-0.54107505, -1.788832, -0.44961306, -0.60935926, -0.45605138, -0.87359524, -0.7287032, 0.29742828" : tensor<8xf32>
    %9 = graph.broadcast %8 {axes = array<i64: 2>} : tensor<8xf32> -> tensor<N x S x 8 x f32>
    %10 = graph.add %7, %9 : tensor<N x S x 8 x f32>
    %11 = graph.reshape %10 : tensor<N x S x 8 x f32> -> tensor<N x S x 2 x 4 x f32>
    %12 = graph.weight @qkv.weight.folded_2 : tensor<8x8xf32>
    %13 = graph.contract %x, %12 "abk,kn->abn" : tensor<N x S x 8 x f32>, tensor<8x8xf32> -> tensor<N x S x 8 x f32>
    %14 = graph.constant "0.009114437, 0.6521936, -1.968064, 0.50728565, -0.5043752, 0.6409147, 2.1106036, 0.44910717" : tensor<8xf32>
    %15 = graph.broadcast %14 {axes = array<i64: 2>} : tensor<8xf32> -> tensor<N x S x 8 x f32>
    %16 = graph.add %13, %15 : tensor<N x S x 8 x f32>
    %17 = graph.reshape %16 : tensor<N x S x 8 x f32> -> tensor<N x S x 2 x 4 x f32>
    %18 = graph.contract %5, %11 "bshd,bthd->bhst" : tensor<N x S x 2 x 4 x f32>, tensor<N x S x 2 x 4 x f32> -> tensor<N x 2 x S x S x f32>
    %19 = graph.softmax %18 {axis = 3 : i64} : tensor<N x 2 x S x S x f32> -> tensor<N x 2 x S x S x f32>
    %20 = graph.contract %19, %17 "bhst,bthd->bshd" : tensor<N x 2 x S x S x f32>, tensor<N x S x 2 x 4 x f32> -> tensor<N x S x 2 x 4 x f32>
    func.return %20 : tensor<N x S x 2 x 4 x f32>
  }
}

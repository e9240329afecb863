// PASSES: fuse{max-ops=1},outline,plan-arena
// Softmax as plan-arena leaves it: along rows of 8.
func.func @main(%x: tensor<3x8xf32> {graph.name = "x"}) -> (tensor<3x8xf32> {graph.name = "y"}) {
  %0 = graph.reduce %x "max" {axes = array<i64: 1>} : tensor<3x8xf32> -> tensor<3xf32>
  %1 = graph.broadcast %0 {axes = array<i64: 0>} : tensor<3xf32> -> tensor<3x8xf32>
  %2 = graph.sub %x, %1 : tensor<3x8xf32>
  %3 = graph.exp %2 : tensor<3x8xf32>
  %4 = graph.reduce %3 "sum" {axes = array<i64: 1>} : tensor<3x8xf32> -> tensor<3xf32>
  %5 = graph.reciprocal %4 : tensor<3xf32>
  %6 = graph.broadcast %5 {axes = array<i64: 0>} : tensor<3xf32> -> tensor<3x8xf32>
  %7 = graph.mul %3, %6 : tensor<3x8xf32>
  func.return %7 : tensor<3x8xf32>
}
// -----
builtin.module @main {
  func.func @rows_0(%x: memref<3x8xf32> {kernel.name = "x", kernel.shape = ["3", "8"], kernel.dtype = "f32"}, %y: memref<3xf32> {kernel.name = "y", kernel.shape = ["3"], kernel.dtype = "f32"}) {
    %acc = memref.alloc() : memref<3xf32>
    linalg.generic {indexing_maps = [affine_map<(d0) -> (d0)>], iterator_types = ["parallel"]} outs(%acc : memref<3xf32>) attrs =  {loops = {d0 = 3 : i64}} {
    ^bb0(%0: f32):
      %1 = arith.constant 0xff800000 : f32
      linalg.yield %1 : f32
    }
    linalg.generic {indexing_maps = [affine_map<(d0, d1) -> (d0, d1)>, affine_map<(d0, d1) -> (d0)>], iterator_types = ["parallel", "reduction"]} ins(%x : memref<3x8xf32>) outs(%acc : memref<3xf32>) attrs =  {loops = {d0 = 3 : i64, c1 = 8 : i64}} {
    ^bb0(%2: f32, %3: f32):
      %4 = arith.maximumf %3, %2 : f32
      linalg.yield %4 : f32
    }
    linalg.generic {indexing_maps = [affine_map<(d0) -> (d0)>, affine_map<(d0) -> (d0)>], iterator_types = ["parallel"]} ins(%acc : memref<3xf32>) outs(%y : memref<3xf32>) attrs =  {loops = {d0 = 3 : i64}} {
    ^bb0(%5: f32, %6: f32):
      linalg.yield %5 : f32
    }
    func.return
  }
  func.func @elementwise_0(%x: memref<3x8xf32> {kernel.name = "x", kernel.shape = ["3", "8"], kernel.dtype = "f32"}, %x1: memref<3xf32> {kernel.name = "x1", kernel.shape = ["3"], kernel.dtype = "f32"}, %y: memref<3x8xf32> {kernel.name = "y", kernel.shape = ["3", "8"], kernel.dtype = "f32"}) {
    linalg.generic {indexing_maps = [affine_map<(d0, d1) -> (d0, d1)>, affine_map<(d0, d1) -> (d0)>, affine_map<(d0, d1) -> (d0, d1)>], iterator_types = ["parallel", "parallel"]} ins(%x, %x1 : memref<3x8xf32>, memref<3xf32>) outs(%y : memref<3x8xf32>) attrs =  {loops = {d0 = 3 : i64, d1 = 8 : i64}} {
    ^bb0(%0: f32, %1: f32, %2: f32):
      %3 = arith.subf %0, %1 : f32
      linalg.yield %3 : f32
    }
    func.return
  }
  func.func @elementwise_1(%x: memref<24xf32> {kernel.name = "x", kernel.shape = ["24"], kernel.dtype = "f32"}, %y: memref<24xf32> {kernel.name = "y", kernel.shape = ["24"], kernel.dtype = "f32"}) {
    linalg.generic {indexing_maps = [affine_map<(d0) -> (d0)>, affine_map<(d0) -> (d0)>], iterator_types = ["parallel"]} ins(%x : memref<24xf32>) outs(%y : memref<24xf32>) attrs =  {loops = {d0.d1 = 24 : i64}} {
    ^bb0(%0: f32, %1: f32):
      %2 = math.exp %0 : f32
      linalg.yield %2 : f32
    }
    func.return
  }
  func.func @rows_1(%x: memref<3x8xf32> {kernel.name = "x", kernel.shape = ["3", "8"], kernel.dtype = "f32"}, %y: memref<3xf32> {kernel.name = "y", kernel.shape = ["3"], kernel.dtype = "f32"}) {
    %acc = memref.alloc() : memref<3xf32>
    linalg.generic {indexing_maps = [affine_map<(d0) -> (d0)>], iterator_types = ["parallel"]} outs(%acc : memref<3xf32>) attrs =  {loops = {d0 = 3 : i64}} {
    ^bb0(%0: f32):
      %1 = arith.constant 0.000000e+00 : f32
      linalg.yield %1 : f32
    }
    linalg.generic {indexing_maps = [affine_map<(d0, d1) -> (d0, d1)>, affine_map<(d0, d1) -> (d0)>], iterator_types = ["parallel", "reduction"]} ins(%x : memref<3x8xf32>) outs(%acc : memref<3xf32>) attrs =  {loops = {d0 = 3 : i64, c1 = 8 : i64}} {
    ^bb0(%2: f32, %3: f32):
      %4 = arith.addf %3, %2 : f32
      linalg.yield %4 : f32
    }
    linalg.generic {indexing_maps = [affine_map<(d0) -> (d0)>, affine_map<(d0) -> (d0)>], iterator_types = ["parallel"]} ins(%acc : memref<3xf32>) outs(%y : memref<3xf32>) attrs =  {loops = {d0 = 3 : i64}} {
    ^bb0(%5: f32, %6: f32):
      linalg.yield %5 : f32
    }
    func.return
  }
  func.func @elementwise_2(%x: memref<3xf32> {kernel.name = "x", kernel.shape = ["3"], kernel.dtype = "f32"}, %y: memref<3xf32> {kernel.name = "y", kernel.shape = ["3"], kernel.dtype = "f32"}) {
    linalg.generic {indexing_maps = [affine_map<(d0) -> (d0)>, affine_map<(d0) -> (d0)>], iterator_types = ["parallel"]} ins(%x : memref<3xf32>) outs(%y : memref<3xf32>) attrs =  {loops = {d0 = 3 : i64}} {
    ^bb0(%0: f32, %1: f32):
      %2 = arith.constant 1.000000e+00 : f32
      %3 = arith.divf %2, %0 : f32
      linalg.yield %3 : f32
    }
    func.return
  }
  func.func @elementwise_3(%x: memref<3x8xf32> {kernel.name = "x", kernel.shape = ["3", "8"], kernel.dtype = "f32"}, %x1: memref<3xf32> {kernel.name = "x1", kernel.shape = ["3"], kernel.dtype = "f32"}, %y: memref<3x8xf32> {kernel.name = "y", kernel.shape = ["3", "8"], kernel.dtype = "f32"}) {
    linalg.generic {indexing_maps = [affine_map<(d0, d1) -> (d0, d1)>, affine_map<(d0, d1) -> (d0)>, affine_map<(d0, d1) -> (d0, d1)>], iterator_types = ["parallel", "parallel"]} ins(%x, %x1 : memref<3x8xf32>, memref<3xf32>) outs(%y : memref<3x8xf32>) attrs =  {loops = {d0 = 3 : i64, d1 = 8 : i64}} {
    ^bb0(%0: f32, %1: f32, %2: f32):
      %3 = arith.mulf %0, %1 : f32
      linalg.yield %3 : f32
    }
    func.return
  }
  func.func @main(%x: memref<3x8xf32> {kernel.name = "x", kernel.role = "input", kernel.dtype = "f32", kernel.dims = #graph.dims<3, 8>}, %y: memref<3x8xf32> {kernel.name = "y", kernel.role = "output", kernel.dtype = "f32", kernel.dims = #graph.dims<3, 8>}) attributes {kernel.arena = [["12", 5 : i64, 6 : i64], ["96", 6 : i64, 9 : i64], ["96", 9 : i64, 12 : i64], ["12", 10 : i64, 11 : i64], ["12", 11 : i64, 12 : i64]]} {
    %0 = kernel.buffer 0 dims ["3"] : memref<3xf32>
    %1 = kernel.buffer 1 dims ["3", "8"] : memref<3x8xf32>
    %2 = kernel.buffer 2 dims ["3", "8"] : memref<3x8xf32>
    %3 = kernel.buffer 3 dims ["3"] : memref<3xf32>
    %4 = kernel.buffer 4 dims ["3"] : memref<3xf32>
    kernel.call @rows_0(%x, %0) : memref<3x8xf32>, memref<3xf32>
    kernel.call @elementwise_0(%x, %0, %1) : memref<3x8xf32>, memref<3xf32>, memref<3x8xf32>
    %5 = kernel.view %1 dims ["24"] : memref<3x8xf32> to memref<24xf32>
    %6 = kernel.view %2 dims ["24"] : memref<3x8xf32> to memref<24xf32>
    kernel.call @elementwise_1(%5, %6) : memref<24xf32>, memref<24xf32>
    kernel.call @rows_1(%2, %3) : memref<3x8xf32>, memref<3xf32>
    kernel.call @elementwise_2(%3, %4) : memref<3xf32>, memref<3xf32>
    kernel.call @elementwise_3(%2, %4, %y) : memref<3x8xf32>, memref<3xf32>, memref<3x8xf32>
    func.return
  }
}

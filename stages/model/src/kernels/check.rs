//! What every kernel has to show: gradients equal to the plain form's, NaN kept, bits free of thread count.

use burn::prelude::*;
use burn::tensor::TensorData;

/// A leaf of a test's graph; `t1`, `t2`, `t3` give it at the rank that an operation wants.
pub(crate) enum Leaf {
    One(Tensor<1>),
    Two(Tensor<2>),
    Three(Tensor<3>),
}

impl Leaf {
    fn new(shape: &[usize], values: &[f32], device: &Device) -> Self {
        let data = TensorData::new(values.to_vec(), shape.to_vec());
        match shape.len() {
            1 => Self::One(Tensor::from_data(data, device).require_grad()),
            2 => Self::Two(Tensor::from_data(data, device).require_grad()),
            _ => Self::Three(Tensor::from_data(data, device).require_grad()),
        }
    }

    pub(crate) fn t1(&self) -> Tensor<1> {
        let Self::One(tensor) = self else { panic!("not of rank 1") };
        tensor.clone()
    }

    pub(crate) fn t2(&self) -> Tensor<2> {
        let Self::Two(tensor) = self else { panic!("not of rank 2") };
        tensor.clone()
    }

    pub(crate) fn t3(&self) -> Tensor<3> {
        let Self::Three(tensor) = self else { panic!("not of rank 3") };
        tensor.clone()
    }

    fn gradient(&self, gradients: &burn::tensor::Gradients) -> Vec<f32> {
        let data = match self {
            Self::One(tensor) => tensor.grad(gradients).map(Tensor::into_data),
            Self::Two(tensor) => tensor.grad(gradients).map(Tensor::into_data),
            Self::Three(tensor) => tensor.grad(gradients).map(Tensor::into_data),
        };
        data.expect("every input has a gradient").try_to_vec().expect("f32")
    }
}

/// Output and input gradients, for the loss `sum(output * w)` with fixed uneven `w`.
fn run<const D: usize>(
    shapes: &[Vec<usize>],
    inputs: &[Vec<f32>],
    op: impl Fn(&[Leaf]) -> Tensor<D>,
) -> Vec<Vec<f32>> {
    let device = Device::flex().autodiff();
    let leaves: Vec<Leaf> = shapes.iter().zip(inputs).map(|(s, v)| Leaf::new(s, v, &device)).collect();
    let output = op(&leaves);
    let n = output.dims().iter().product::<usize>();
    let w: Vec<f32> = (0..n).map(|i| ((i * 37 % 101) as f32 - 50.0) / 50.0).collect();
    let w = Tensor::<D>::from_data(TensorData::new(w, output.dims()), &device);
    let values = output.clone().into_data().try_to_vec().expect("f32");
    let gradients = (output * w).sum().backward();
    let mut results = vec![values];
    results.extend(leaves.iter().map(|leaf| leaf.gradient(&gradients)));
    results
}

/// Requires equal outputs and gradients of both forms, relative to each tensor's norm.
pub(crate) fn agree<const D: usize>(
    shapes: &[Vec<usize>],
    inputs: &[Vec<f32>],
    fused: impl Fn(&[Leaf]) -> Tensor<D>,
    plain: impl Fn(&[Leaf]) -> Tensor<D>,
) {
    let (fused, plain) = (run(shapes, inputs, fused), run(shapes, inputs, plain));
    for (i, (a, b)) in fused.iter().zip(&plain).enumerate() {
        assert_eq!(a.len(), b.len());
        let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
        let difference = norm(&mut a.iter().zip(b).map(|(a, b)| f64::from(a - b)));
        let size = norm(&mut b.iter().map(|&b| f64::from(b)));
        assert!(
            difference <= 2e-5 * size + 1e-6,
            "tensor {i} (0 is the output) of shapes {shapes:?}: norm {size}, difference {difference}"
        );
    }
}

/// Requires that a NaN anywhere in any input shows in the output.
pub(crate) fn nan_reaches_output<const D: usize>(
    shapes: &[Vec<usize>],
    inputs: &[Vec<f32>],
    op: impl Fn(&[Leaf]) -> Tensor<D>,
) {
    for input in 0..inputs.len() {
        for at in [0, inputs[input].len() / 2, inputs[input].len() - 1] {
            let mut inputs = inputs.to_vec();
            inputs[input][at] = f32::NAN;
            let output = &run(shapes, &inputs, &op)[0];
            assert!(output.iter().any(|x| x.is_nan()), "NaN at {at} of input {input} got lost");
        }
    }
}

/// Requires the same bits of outputs and gradients on pools of 1, 2, 3 and 8 threads.
pub(crate) fn same_bits_for_any_threads<const D: usize>(
    shapes: &[Vec<usize>],
    inputs: &[Vec<f32>],
    op: impl Fn(&[Leaf]) -> Tensor<D> + Sync,
) {
    let bits = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a thread pool");
        let results = pool.install(|| run(shapes, inputs, &op));
        results.iter().flatten().map(|x| x.to_bits()).collect::<Vec<u32>>()
    };
    let one = bits(1);
    for threads in [2, 3, 8] {
        assert_eq!(one, bits(threads), "{threads} threads");
    }
}

/// Numbers for tests, uniform from -1 to 1.
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    pub(crate) fn vec(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.next()).collect()
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.next();
        (self.0 >> 33) as usize % n
    }
}

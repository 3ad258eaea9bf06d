//! The bridge between kernels and burn's autodiff: an operation gives its forward and backward pass over
//! arrays, and `apply` records it on the tape.

use super::array::Array;
use burn::backend::autodiff::{
    Autodiff,
    checkpoint::{base::Checkpointer, strategy::NoCheckpointing},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind},
};
use burn::backend::{Flex, flex::FlexTensor, tensor::FloatTensor};
use burn::prelude::*;
use std::fmt::Debug;

/// A differentiable operation of `N` f32 inputs and one output on the CPU.
pub(super) trait Fused<const N: usize>: Clone + Send + Debug + 'static {
    /// What the forward pass leaves for the backward pass; arrays are shared, not copied.
    type Saved: Clone + Send + Debug + 'static;

    /// Computes the output. `wanted` tells which inputs get gradients; none of them without a backward pass.
    fn forward(&self, inputs: [&Array; N], wanted: [bool; N]) -> (Array, Self::Saved);

    /// Gradients of the inputs that are `wanted`, from the output's gradient.
    fn backward(&self, saved: Self::Saved, gradient: Array, wanted: [bool; N]) -> [Option<Array>; N];
}

type Tracked = Autodiff<Flex, NoCheckpointing>;

/// A float tensor of any rank on flex.
pub(super) trait Input {
    fn is_tracked(&self) -> bool;
    fn tracked(&self) -> FloatTensor<Tracked>;
    fn array(&self) -> Array;
}

impl<const D: usize> Input for Tensor<D> {
    fn is_tracked(&self) -> bool {
        self.is_autodiff()
    }

    fn tracked(&self) -> FloatTensor<Tracked> {
        let tensor = self.clone().autodiff();
        tensor.try_into_primitive::<Tracked>().expect("invariant: `on_flex` was asked, and `ad` is plain")
    }

    fn array(&self) -> Array {
        let tensor = self.clone().inner();
        Array::from_flex(tensor.try_into_primitive::<Flex>().expect("invariant: `on_flex` was asked"))
    }
}

/// Runs `op`, on the tape if any input is there. All inputs must be on flex.
pub(super) fn apply<const N: usize, const D: usize, F: Fused<N>>(
    op: F,
    inputs: [&dyn Input; N],
) -> Tensor<D> {
    let arrays = inputs.map(Input::array);
    if !inputs.iter().any(|input| input.is_tracked()) {
        let (output, _) = op.forward(arrays.each_ref(), [false; N]);
        return Tensor::from_primitive::<Flex>(output.into_flex());
    }
    let tracked = inputs.map(Input::tracked);
    let wanted = tracked.each_ref().map(|input| input.is_tracked());
    let nodes = tracked.map(|input| input.into_parts().1);
    let tape = TapeStep(op.clone()).prepare::<NoCheckpointing>(nodes).compute_bound().stateful();
    let output = match tape {
        OpsKind::Tracked(tape) => {
            let (output, saved) = op.forward(arrays.each_ref(), wanted);
            tape.finish(saved, output.into_flex())
        }
        OpsKind::UnTracked(tape) => tape.finish(op.forward(arrays.each_ref(), [false; N]).0.into_flex()),
    };
    Tensor::from_primitive::<Tracked>(output)
}

#[derive(Debug)]
struct TapeStep<F>(F);

impl<const N: usize, F: Fused<N>> Backward<Flex, N> for TapeStep<F> {
    type State = F::Saved;

    fn backward(self, ops: Ops<Self::State, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let wanted = ops.parents.each_ref().map(Option::is_some);
        let gradient: FlexTensor = grads.consume::<Flex>(&ops.node);
        let gradients = self.0.backward(ops.state, Array::from_flex(gradient), wanted);
        for (parent, gradient) in ops.parents.iter().zip(gradients) {
            if let (Some(parent), Some(gradient)) = (parent, gradient) {
                grads.register::<Flex>(parent.id, gradient.into_flex());
            }
        }
    }
}

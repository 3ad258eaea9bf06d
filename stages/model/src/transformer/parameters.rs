//! A module's parameters by name: reading them out, loading them, gradients and their norm.

use crate::kernels::adamw::{AdamWStep, Slot, adamw, add, sum_of_squares};
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::prelude::*;
use burn::tensor::Gradients;
use std::collections::BTreeMap;

/// Flattened tensors by parameter name, such as `model.layers.0.mlp.up_proj.weight`.
pub(crate) type Named = BTreeMap<String, Tensor<1>>;

/// Values and shape of a parameter.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Weights {
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Vec<f32>,
}

/// All parameters of `module`, copied.
pub(crate) fn weights<M: Module>(module: &M) -> BTreeMap<String, Weights> {
    let copy = |(name, (shape, tensor)): (String, (Vec<usize>, Tensor<1>))| {
        (name, Weights { shape, values: tensor.into_data().iter::<f32>().collect() })
    };
    tensors(module).into_iter().map(copy).collect()
}

/// All parameters of `module`: their shapes, and their flattened tensors without autodiff, which share memory with
/// the module.
pub(crate) fn tensors<M: Module>(module: &M) -> BTreeMap<String, (Vec<usize>, Tensor<1>)> {
    struct Reader(Path, BTreeMap<String, (Vec<usize>, Tensor<1>)>);
    impl ModuleVisitor for Reader {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.0.enter(name);
        }

        fn exit_module(&mut self, _: &str, _: &str) {
            self.0.exit();
        }

        fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
            let tensor = parameter.val().inner();
            let shape = tensor.dims().to_vec();
            let n = shape.iter().product::<usize>();
            self.1.insert(self.0.name(), (shape, tensor.reshape([n])));
        }
    }
    let mut reader = Reader(Path::default(), BTreeMap::new());
    module.visit(&mut reader);
    reader.1
}

/// Takes the values of `name` out of `tensors`; an error says that it is missing or of which shape it is.
pub(crate) fn take_fitting(
    tensors: &mut BTreeMap<String, Weights>,
    name: &str,
    shape: &[usize],
) -> Result<Vec<f32>, String> {
    match tensors.remove(name) {
        Some(weights) if weights.shape == shape => Ok(weights.values),
        Some(Weights { shape: found, .. }) => Err(format!("`{name}` has shape {found:?}, not {shape:?}")),
        None => Err(format!("there is no `{name}`")),
    }
}

/// Takes the gradients of all parameters out of `gradients`.
pub(crate) fn take_gradients<M: Module>(module: &M, gradients: Gradients) -> Named {
    struct GradientCollector(Path, Gradients, Named);
    impl ModuleVisitor for GradientCollector {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.0.enter(name);
        }

        fn exit_module(&mut self, _: &str, _: &str) {
            self.0.exit();
        }

        fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
            if let Some(gradient) = parameter.val().grad_remove(&mut self.1) {
                let n = gradient.dims().iter().product::<usize>();
                self.2.insert(self.0.name(), gradient.reshape([n]));
            }
        }
    }
    let mut collector = GradientCollector(Path::default(), gradients, Named::new());
    module.visit(&mut collector);
    collector.2
}

/// The sum of two sets of gradients, name by name.
pub(crate) fn sum(mut total: Named, more: Named) -> Named {
    for (name, gradient) in more {
        let sum = match total.remove(&name) {
            Some(old) => add(old, gradient),
            None => gradient,
        };
        total.insert(name, sum);
    }
    total
}

/// The norm of all gradients as one vector; NaN if any element is.
pub(crate) fn global_norm(gradients: &Named) -> f64 {
    gradients.values().map(sum_of_squares).sum::<f64>().sqrt()
}

/// First and second moments of every parameter that has had a gradient.
#[derive(Debug, Clone, Default)]
pub(crate) struct Moments {
    pub(crate) first: Named,
    pub(crate) second: Named,
}

/// One step of AdamW on every parameter that has a gradient; `step` is given for matrices, and norms take
/// it without weight decay.
pub(crate) fn update<M: Module>(module: M, gradients: Named, moments: &mut Moments, step: AdamWStep) -> M {
    struct Updater<'a>(Path, Named, &'a mut Moments, AdamWStep);
    impl ModuleMapper for Updater<'_> {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.0.enter(name);
        }

        fn exit_module(&mut self, _: &str, _: &str) {
            self.0.exit();
        }

        fn map_float<const D: usize>(&mut self, parameter: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let name = self.0.name();
            let Some(gradient) = self.1.remove(&name) else { return parameter };
            let step = if D < 2 { AdamWStep { weight_decay: 0.0, ..self.3 } } else { self.3 };
            let zeros = || gradient.zeros_like();
            let first = self.2.first.remove(&name).unwrap_or_else(zeros);
            let second = self.2.second.remove(&name).unwrap_or_else(zeros);
            replace(parameter, |parameter| {
                let shape = parameter.dims();
                let parameter = parameter.reshape([shape.iter().product::<usize>()]);
                let slot = adamw(Slot { parameter, first, second }, gradient, step);
                self.2.first.insert(name.clone(), slot.first);
                self.2.second.insert(name, slot.second);
                slot.parameter.reshape(shape)
            })
        }
    }
    module.map(&mut Updater(Path::default(), gradients, moments, step))
}

/// Gives a parameter a new value, made from the old one without autodiff.
fn replace<const D: usize>(
    parameter: Param<Tensor<D>>,
    change: impl FnOnce(Tensor<D>) -> Tensor<D>,
) -> Param<Tensor<D>> {
    let (id, tensor, mapper) = parameter.consume();
    let (tracked, wanted) = (tensor.is_autodiff(), tensor.is_require_grad());
    let tensor = change(tensor.inner());
    let tensor = if tracked { tensor.autodiff().set_require_grad(wanted) } else { tensor };
    Param::from_mapped_value(id, tensor, mapper)
}

/// Where a visitor stands in the module tree.
#[derive(Default)]
struct Path(Vec<String>);

impl Path {
    fn enter(&mut self, name: &str) {
        self.0.push(name.to_owned());
    }

    fn exit(&mut self) {
        self.0.pop();
    }

    fn name(&self) -> String {
        self.0.join(".")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::loss::Targets;
    use crate::transformer::{Architecture, Form, Ids, Noise, tiny, variants};

    fn architecture() -> Architecture {
        Architecture {
            vocabulary: 20,
            features: 8,
            heads: 2,
            kv_heads: 1,
            head_dim: 4,
            ..tiny(Form::Llama, false)
        }
    }

    #[test]
    fn names_are_paths_in_the_module() {
        let names: Vec<String> = weights(&architecture().init(1, &Device::flex())).into_keys().collect();
        for name in [
            "lm_head.weight",
            "model.embed_tokens.weight",
            "model.layers.1.input_layernorm.weight",
            "model.layers.0.self_attn.qkv_proj.weight",
            "model.layers.0.mlp.gate_up_proj.weight",
            "model.layers.1.mlp.down_proj.weight",
            "model.norm.weight",
        ] {
            assert!(names.iter().any(|n| n == name), "{name} is not in {names:?}");
        }
        assert_eq!(names.len(), 2 * 6 + 3);
    }

    #[test]
    fn built_weights_are_those_read() {
        let wanted = weights(&architecture().init(1, &Device::flex()));
        let mut left = wanted.clone();
        let built =
            architecture().build(&Device::flex(), |name, shape, _| take_fitting(&mut left, name, shape));
        assert_eq!(weights(&built.expect("all are there")), wanted);
        assert!(left.is_empty());
        let fault =
            architecture().build(&Device::flex(), |name, shape, _| take_fitting(&mut left, name, shape));
        assert!(fault.expect_err("nothing is left").contains("there is no `model.embed_tokens.weight`"));
    }

    #[test]
    fn steps_on_one_batch_lower_its_loss() {
        for architecture in [architecture()].into_iter().chain(variants()) {
            let losses = losses_of_steps(&architecture);
            assert!(losses[29] < 0.7 * losses[0], "{architecture:?}: {losses:?}");
        }
    }

    fn losses_of_steps(architecture: &Architecture) -> Vec<f32> {
        let mut model = architecture.init(1, &Device::flex().autodiff());
        let parameters = weights(&model).len();
        let ids = Ids::new((0..16).map(|i| i * 7 % 20).collect(), 1);
        let targets = Targets::mean((0..16).map(|i| (i + 1) * 7 % 20).collect());
        let mut moments = Moments::default();
        let mut losses = Vec::new();
        for time in 1..=30 {
            let loss = model.loss(&ids, &targets, Noise::NONE);
            losses.push(loss.clone().inner().into_scalar::<f32>());
            let gradients = take_gradients(&model, loss.backward());
            assert_eq!(gradients.len(), parameters);
            let norm = global_norm(&gradients);
            assert!(norm.is_finite() && norm > 0.0);
            let step = AdamWStep {
                lr: 1e-2,
                beta1: 0.9,
                beta2: 0.95,
                epsilon: 1e-8,
                weight_decay: 0.1,
                gradient_scale: 1.0,
                time,
            };
            model = update(model, gradients, &mut moments, step);
        }
        losses
    }
}

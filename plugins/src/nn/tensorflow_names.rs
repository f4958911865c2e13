//! Names of TensorFlow BERT checkpoints (`google-research/bert`, the releases of BioBERT and SciBERT), in today's spelling.

/// A variable's name as a Hugging Face file has it, and whether its matrix is transposed there.
///
/// `bert/encoder/layer_0/attention/self/query/kernel` is `bert.encoder.layer.0.attention.self.query.weight`, transposed. Only kernels are:
/// the output weights of heads are stored as they are used.
pub fn translate(variable: &str) -> (String, bool) {
    let transposed = variable.rsplit('/').next() == Some("kernel");
    let special = match variable {
        "cls/predictions/output_bias" => Some("cls.predictions.bias"),
        "cls/seq_relationship/output_weights" => Some("cls.seq_relationship.weight"),
        "cls/seq_relationship/output_bias" => Some("cls.seq_relationship.bias"),
        "cls/squad/output_weights" => Some("qa_outputs.weight"),
        "cls/squad/output_bias" => Some("qa_outputs.bias"),
        "output_weights" => Some("classifier.weight"),
        "output_bias" => Some("classifier.bias"),
        _ => None,
    };
    if let Some(name) = special {
        return (name.to_owned(), false);
    }
    let parts: Vec<String> = variable
        .split('/')
        .map(|part| match part.strip_prefix("layer_").filter(|number| number.parse::<u32>().is_ok()) {
            Some(number) => format!("layer.{number}"),
            None => match part {
                "kernel" | "gamma" => "weight".to_owned(),
                "beta" => "bias".to_owned(),
                "word_embeddings" | "token_type_embeddings" | "position_embeddings" => format!("{part}.weight"),
                other => other.to_owned(),
            },
        })
        .collect();
    (parts.join("."), transposed)
}

#[cfg(test)]
mod tests {
    use super::translate;

    #[test]
    fn variables_have_their_names_of_today() {
        for (variable, name, transposed) in [
            ("bert/embeddings/word_embeddings", "bert.embeddings.word_embeddings.weight", false),
            ("bert/embeddings/LayerNorm/gamma", "bert.embeddings.LayerNorm.weight", false),
            ("bert/encoder/layer_11/attention/self/query/kernel", "bert.encoder.layer.11.attention.self.query.weight", true),
            ("bert/encoder/layer_0/output/dense/bias", "bert.encoder.layer.0.output.dense.bias", false),
            ("bert/pooler/dense/kernel", "bert.pooler.dense.weight", true),
            ("cls/predictions/transform/LayerNorm/beta", "cls.predictions.transform.LayerNorm.bias", false),
            ("cls/predictions/output_bias", "cls.predictions.bias", false),
            ("cls/seq_relationship/output_weights", "cls.seq_relationship.weight", false),
            ("output_weights", "classifier.weight", false),
            ("cls/squad/output_bias", "qa_outputs.bias", false),
        ] {
            assert_eq!(translate(variable), (name.to_owned(), transposed), "{variable}");
        }
    }
}

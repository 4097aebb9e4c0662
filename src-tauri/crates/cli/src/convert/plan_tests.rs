//! The transforms, and that the table in Rust is the contract's.
use super::*;
use crate::convert::rope::Rope;
use serde::Deserialize;
use std::collections::BTreeMap;

#[test]
fn pairs_interleave_within_each_head() {
    // 2 heads × 4 rows × 2 columns; row r holds (10r, 10r + 1).
    let w: Vec<f32> = (0..8).flat_map(|r| [10.0 * r as f32, 10.0 * r as f32 + 1.0]).collect();
    let rows: Vec<f32> =
        Transform::InterleavePairs { heads: 2 }.apply(w, 2).chunks(2).map(|row| row[0] / 10.0).collect();
    assert_eq!(rows, [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]);
}

#[test]
fn halves_are_gate_then_up() {
    let w: Vec<f32> = (0..8).map(|x| x as f32).collect();
    assert_eq!(Transform::FirstHalf.apply(w.clone(), 2), [0.0, 1.0, 2.0, 3.0]);
    assert_eq!(Transform::SecondHalf.apply(w, 2), [4.0, 5.0, 6.0, 7.0]);
}

#[test]
fn a_is_minus_exp() {
    assert_eq!(Transform::NegExp.apply(vec![0.0, 2f32.ln()], 1), [-1.0, -(2f32.ln().exp())]);
}

#[derive(Deserialize)]
struct Table {
    tensor: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    hf: String,
    gguf: String,
    on: String,
    shape: Vec<String>,
    transform: Vec<String>,
    #[serde(default)]
    rows: Vec<String>,
    heads: Option<String>,
    r#type: String,
}

/// Sizes that are all different, so that no letter can stand for another.
fn config() -> Config {
    Config {
        vocab_size: 1000,
        d_model: 96,
        d_ff: 160,
        kv_heads: vec![0, 2, 0],
        n_head: 6,
        head_dim: 16,
        attention_scale: 0.25,
        embedding_scale: 1.0,
        residual_scale: 1.0,
        logit_scale: 1.0,
        rope: Some(Rope { theta: 1e4, scaling: Scaling::None }),
        ssm_heads: 12,
        d_state: 24,
        d_conv: 4,
        rms_eps: 1e-5,
        context_length: 64,
        tied: false,
        bos: None,
        eos: None,
        pad: None,
    }
}

/// `2i+2n+h`, `a*e`, `1`: a sum of products of numbers and the contract's letters.
fn size(expression: &str) -> usize {
    let letter = |c: char| match c {
        'v' => 1000,
        'd' => 96,
        'i' => 192,
        'n' => 24,
        'h' => 12,
        'a' => 6,
        'g' => 2,
        'e' => 16,
        'f' => 160,
        'k' => 4,
        other => panic!("unknown letter {other} in {expression}"),
    };
    let factor = |c: char| c.to_digit(10).map_or_else(|| letter(c), |digit| digit as usize);
    let term = |term: &str| term.chars().filter(|c| *c != '*').map(factor).product::<usize>();
    expression.split('+').map(term).sum()
}

fn blocks(on: &str) -> Vec<Option<usize>> {
    match on {
        "global" => vec![None],
        "every" => vec![Some(0), Some(1), Some(2)],
        "mamba" => vec![Some(0), Some(2)],
        "attention" => vec![Some(1)],
        other => panic!("unknown place {other}"),
    }
}

fn transform(row: &Row) -> Transform {
    let steps: Vec<&str> = row.transform.iter().map(String::as_str).collect();
    match steps.as_slice() {
        [] | ["squeeze" | "column" | "row"] => Transform::AsIs,
        ["neg_exp", "column"] => Transform::NegExp,
        ["permute_rope"] => Transform::InterleavePairs { heads: size(row.heads.as_deref().unwrap()) },
        ["rows"] if row.rows == ["0", "f"] => Transform::FirstHalf,
        ["rows"] if row.rows == ["f", "2f"] => Transform::SecondHalf,
        other => panic!("unknown transform {other:?}"),
    }
}

/// The dimensions that the contract's shape has after its transforms, fastest first.
fn dims(row: &Row) -> Vec<usize> {
    let mut shape: Vec<usize> = row.shape.iter().map(|s| size(s)).collect();
    for step in &row.transform {
        match step.as_str() {
            "rows" => shape[0] = size(&row.rows[1]) - size(&row.rows[0]),
            "squeeze" => shape.retain(|&n| n != 1),
            "column" => shape.push(1),
            "row" => shape.insert(0, 1),
            _ => {}
        }
    }
    shape.reverse();
    shape
}

fn planned(row: &Row, block: Option<usize>) -> Planned {
    let name = |pattern: &str| block.map_or(pattern.to_owned(), |i| pattern.replace("{i}", &i.to_string()));
    let shape = row.shape.iter().map(|s| size(s)).collect();
    let source = Source::Checkpoint { name: name(&row.hf), shape, transform: transform(row) };
    Planned { name: name(&row.gguf), dims: dims(row), is_matrix: row.r#type != "f32", source }
}

#[test]
fn is_the_table_of_the_contract() {
    let text = include_str!("../../../../../assets/contract/tensors.toml");
    let table: Table = toml::from_str(text).unwrap();
    let by_name = |list: Vec<Planned>| -> BTreeMap<String, Planned> {
        list.into_iter().map(|p| (p.name.clone(), p)).collect()
    };
    let contract = table
        .tensor
        .iter()
        .flat_map(|row| blocks(&row.on).into_iter().map(|block| planned(row, block)))
        .collect();
    let (ours, contract) = (by_name(plan(&config())), by_name(contract));
    assert_eq!(ours.keys().collect::<Vec<_>>(), contract.keys().collect::<Vec<_>>());
    for (name, expected) in contract {
        assert_eq!(ours[&name], expected, "{name}");
    }
}

"""mkgguf.py GGUF_PY VOCAB OUT TEMPLATE CHAIN [tools]

Writes a language model of one layer whose weights encode a chain of tokens: after
each token of CHAIN (GPT-2 pieces with blanks between them, EOS for the end) it
prefers the next one, whatever came before. With "tools" it leans towards what ends a
JSON value, so that under the server's grammar for a tool call it soon gets to one.
"""

import sys

sys.path.insert(0, sys.argv[1])  # the gguf-py folder of llama.cpp's source

import gguf  # noqa: E402
import numpy as np  # noqa: E402

vocab, out, template, chain = sys.argv[2:6]
for_tools = sys.argv[6:] == ["tools"]

WIDTH, HEADS, FORWARD, CONTEXT = 64, 4, 64, 8192
END_OF_TEXT = "<|endoftext|>"

reader = gguf.GGUFReader(vocab)
writer = gguf.GGUFWriter(out, "llama")
for key, field in reader.fields.items():
    if not key.startswith("tokenizer.") or key == "tokenizer.chat_template":
        continue
    if field.types[0] == gguf.GGUFValueType.ARRAY:
        writer.add_array(key, field.contents())
    else:
        writer.add_key_value(key, field.contents(), field.types[0])
with open(template) as f:
    writer.add_chat_template(f.read())

tokens = reader.fields["tokenizer.ggml.tokens"].contents()
number = {token: i for i, token in enumerate(tokens)}

writer.add_name("nagatha-chain")
writer.add_context_length(CONTEXT)
writer.add_embedding_length(WIDTH)
writer.add_block_count(1)
writer.add_feed_forward_length(FORWARD)
writer.add_head_count(HEADS)
writer.add_head_count_kv(HEADS)
writer.add_layer_norm_rms_eps(1e-5)
writer.add_rope_dimension_count(WIDTH // HEADS)
writer.add_vocab_size(len(tokens))
writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)

# Each token is a random direction of length sqrt(WIDTH); attention and feed-forward
# are zero, so the last token alone decides. An output row that points where a token
# does is what follows it.
embedding = np.random.default_rng(7).standard_normal((len(tokens), WIDTH)).astype(np.float32)
embedding /= np.sqrt((embedding**2).mean(1, keepdims=True))
output = np.zeros((len(tokens), WIDTH), np.float32)
if for_tools:
    # The first direction is common to all tokens: what a row has there, it always has.
    embedding[:, 0] = 2.0
    for i, token in enumerate(tokens):
        if set(token) <= set("ĠĊĉč"):  # blank space could go on for ever
            output[i, 0] = -4.0
    for token, lean in (('"', 1.5), ("}", 1.6), ('"}', 1.7), (END_OF_TEXT, 12.0)):
        output[number[token], 0] = lean
pieces = [number[END_OF_TEXT if piece == "EOS" else piece] for piece in chain.split(" ")]
for this, following in zip(pieces, pieces[1:]):
    output[following] += embedding[this] * (30.0 / WIDTH)

writer.add_tensor("token_embd.weight", embedding.astype(np.float16))
writer.add_tensor("output.weight", output.astype(np.float16))
writer.add_tensor("output_norm.weight", np.ones(WIDTH, np.float32))
for name in ("attn_norm", "ffn_norm"):
    writer.add_tensor(f"blk.0.{name}.weight", np.ones(WIDTH, np.float32))
for name, shape in {
    "attn_q": (WIDTH, WIDTH),
    "attn_k": (WIDTH, WIDTH),
    "attn_v": (WIDTH, WIDTH),
    "attn_output": (WIDTH, WIDTH),
    "ffn_gate": (FORWARD, WIDTH),
    "ffn_up": (FORWARD, WIDTH),
    "ffn_down": (WIDTH, FORWARD),
}.items():
    writer.add_tensor(f"blk.0.{name}.weight", np.zeros(shape, np.float16))

writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()

"""Train phantom-sd, the base model that ships: first its VAE, then its U-Net and text encoder together.

    python experiments/phantom_base/train.py            # 60 to 90 minutes on 2 cores
    python experiments/phantom_base/train.py --smoke    # one minute, to check that everything runs

Both stages write a checkpoint every 250 steps under --work and resume from it when started again.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from corpus import Corpus, dead_leaves, draw_corpus, web_caption
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

SIZE = 64
TEXT_LENGTH = 48
OUT = Path(__file__).parents[2] / "src" / "latentpath" / "assets" / "phantom-sd"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, default=Path("outputs/phantom_base"))
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--dermoscopy", type=int, default=14_000)
    parser.add_argument("--chest", type=int, default=6_000)
    parser.add_argument("--vae-steps", type=int, default=5_000)
    parser.add_argument("--unet-steps", type=int, default=2_800)
    parser.add_argument("--decoder-steps", type=int, default=1_500)
    parser.add_argument("--photographs", type=Path, help="a folder of JPEGs to measure the VAE's PSNR on")
    parser.add_argument("--smoke", action="store_true", help="few images and steps")
    args = parser.parse_args()
    if args.smoke:
        args.dermoscopy, args.chest = 256, 64
        args.vae_steps = args.unet_steps = args.decoder_steps = 5
    args.work.mkdir(parents=True, exist_ok=True)

    corpus = draw_corpus(dermoscopy=args.dermoscopy, chest=args.chest, cache=args.work / "corpus.npz")
    vae = train_vae(corpus, steps=args.vae_steps, work=args.work)
    tokenizer = build_tokenizer(args.work / "tokenizer")
    unet, text_encoder = train_unet(corpus, vae, tokenizer, steps=args.unet_steps, work=args.work)
    refine_decoder(corpus, vae, steps=args.decoder_steps, work=args.work)
    export(vae, text_encoder, tokenizer, unet, args.out)
    if args.photographs:
        measure(vae, args.photographs)


# ------------------------------------------------------------------------------------------------ the VAE


def train_vae(corpus: Corpus, *, steps: int, work: Path, batch: int = 16, lr: float = 1e-3) -> AutoencoderKL:
    """Train the VAE on recoloured phantoms and dead leaves, half each; loss: pixels, edges and a small KL."""
    torch.manual_seed(0)
    vae = AutoencoderKL(
        sample_size=SIZE,
        latent_channels=4,
        norm_num_groups=8,
        block_out_channels=(32, 48, 64),
        layers_per_block=1,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
    )
    rng = np.random.default_rng(1)
    leaves = dead_leaves(min(8_000, len(corpus.images)), size=SIZE, rng=rng)

    def loss_of(step: int) -> torch.Tensor:
        rng = np.random.default_rng((1, step))
        phantoms = corpus.images[rng.integers(len(corpus.images), size=batch // 2)]
        foreign = leaves[rng.integers(len(leaves), size=batch - batch // 2)]
        images = _flips(_colours(_to_tensor(np.concatenate([phantoms, foreign])), rng), rng)
        posterior = vae.encode(images).latent_dist
        decoded = vae.decode(posterior.sample()).sample.float()
        error = decoded - images
        edges = sum(torch.diff(error, dim=d).abs().mean() for d in (-1, -2))
        kl = posterior.kl().mean() / posterior.mean[0].numel()
        return 2 * error.abs().mean() + 2 * error.square().mean() + edges + 1e-4 * kl

    _fit("vae", vae, loss_of, steps=steps, lr=lr, work=work)
    with torch.no_grad():
        sample = _to_tensor(corpus.images[:: max(1, len(corpus.images) // 512)])
        std = vae.encode(sample).latent_dist.sample().std().item()
    vae.register_to_config(scaling_factor=1 / std)
    return vae.eval().requires_grad_(False)


def refine_decoder(
    corpus: Corpus, vae: AutoencoderKL, *, steps: int, work: Path, batch: int = 16, lr: float = 6e-4
) -> None:
    """Train only the decoder further; latents and U-Net do not change."""
    leaves = dead_leaves(min(4_000, len(corpus.images)), size=SIZE, rng=np.random.default_rng(1))
    decoder = torch.nn.ModuleDict({"decoder": vae.decoder, "post_quant_conv": vae.post_quant_conv})
    decoder.requires_grad_(True)

    def loss_of(step: int) -> torch.Tensor:
        rng = np.random.default_rng((3, step))
        phantoms = corpus.images[rng.integers(len(corpus.images), size=batch * 3 // 4)]
        foreign = leaves[rng.integers(len(leaves), size=batch - len(phantoms))]
        images = _flips(_colours(_to_tensor(np.concatenate([phantoms, foreign])), rng), rng)
        with torch.no_grad():
            latents = vae.encode(images).latent_dist.sample()
        error = vae.decode(latents).sample.float() - images
        edges = sum(torch.diff(error, dim=d).abs().mean() for d in (-1, -2))
        return error.abs().mean() + 4 * error.square().mean() + 2 * edges

    _fit("decoder", decoder, loss_of, steps=steps, lr=lr, work=work)
    vae.eval().requires_grad_(False)


# ------------------------------------------------------------------------------ text encoder and U-Net


def build_tokenizer(folder: Path) -> CLIPTokenizer:
    """Build a CLIP tokenizer with merges from the words of the field, so that a word is one or two tokens."""
    if folder.exists():  # ties between merges are broken differently in each run: keep the first result
        return CLIPTokenizer.from_pretrained(folder)
    words = (Path(__file__).parent / "words.txt").read_text().split("\n")
    bpe = Tokenizer(models.BPE(continuing_subword_prefix="", end_of_word_suffix="</w>"))
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.ByteLevel(False, use_regex=False)]
    )
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=1_400, initial_alphabet=alphabet, end_of_word_suffix="</w>", show_progress=False
    )
    bpe.train_from_iterator([w.lower() for w in words], trainer)
    state = json.loads(bpe.to_str())["model"]
    merges = [tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in state["merges"]]
    tokens = [*sorted(alphabet), *(a + "</w>" for a in sorted(alphabet)), *("".join(m) for m in merges)]
    tokens = [*dict.fromkeys(tokens), "<|startoftext|>", "<|endoftext|>"]
    tokenizer = CLIPTokenizer(
        vocab={token: i for i, token in enumerate(tokens)}, merges=merges, model_max_length=TEXT_LENGTH
    )
    tokenizer.save_pretrained(folder)
    return tokenizer


def train_unet(
    corpus: Corpus,
    vae: AutoencoderKL,
    tokenizer: CLIPTokenizer,
    *,
    steps: int,
    work: Path,
    batch: int = 32,
    lr: float = 6e-4,
) -> tuple[UNet2DConditionModel, CLIPTextModel]:
    """Train the U-Net by epsilon prediction on latents with SD's schedule and new captions each step."""
    torch.manual_seed(1)
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=128,
            intermediate_size=256,
            projection_dim=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=TEXT_LENGTH,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    unet = UNet2DConditionModel(
        sample_size=SIZE // 4,
        in_channels=4,
        out_channels=4,
        block_out_channels=(64, 96, 96),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=128,
        attention_head_dim=4,
        norm_num_groups=8,
    )
    latents = _encode(vae, corpus.images)
    noise_scheduler = _noise_scheduler()
    alphas = noise_scheduler.alphas_cumprod

    def loss_of(step: int) -> torch.Tensor:
        rng = np.random.default_rng((2, step))
        rows = rng.integers(len(latents), size=batch)
        tokens = tokenizer(
            [web_caption(corpus.contents[row], rng) for row in rows],
            padding="max_length",
            truncation=True,
            max_length=TEXT_LENGTH,
            return_tensors="pt",
        )
        clean = latents[rows]
        noise = torch.from_numpy(rng.standard_normal(clean.shape, dtype=np.float32))
        # Timesteps are stratified over the batch: the same expectation with less variance.
        timestep = torch.from_numpy(((rng.random() + np.arange(batch)) / batch % 1 * 1000).astype(np.int64))
        alpha = alphas[timestep].view(-1, 1, 1, 1)
        noisy = alpha.sqrt() * clean + (1 - alpha).sqrt() * noise
        embeds = text_encoder(tokens.input_ids).last_hidden_state
        return F.mse_loss(unet(noisy, timestep, embeds).sample.float(), noise)

    modules = torch.nn.ModuleDict({"unet": unet, "text_encoder": text_encoder})
    _fit("unet", modules, loss_of, steps=steps, lr=lr, work=work)
    return unet.eval(), text_encoder.eval()


def _noise_scheduler() -> DDIMScheduler:
    """Return the noise schedule of SD 1.5."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        num_train_timesteps=1000,
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        scheduler_changes={"prediction_type": "epsilon"},
        timestep_spacing="leading",
    )


# ------------------------------------------------------------------------------------------- the loop


def _fit(name: str, module: torch.nn.Module, loss_of, *, steps: int, lr: float, work: Path) -> None:
    """Train with AdamW, warm-up, cosine decay and EMA; `module` holds the EMA weights at the end."""
    optimizer = torch.optim.AdamW(module.parameters(), lr=lr, betas=(0.9, 0.99), weight_decay=1e-3)
    average = {key: value.detach().clone() for key, value in module.state_dict().items()}
    checkpoint, start = work / f"{name}.pt", 0
    if checkpoint.exists():
        stored = torch.load(checkpoint, weights_only=True)
        module.load_state_dict(stored["module"])
        optimizer.load_state_dict(stored["optimizer"])
        average, start = stored["average"], stored["step"]
    log = work / f"{name}.csv"
    with log.open("a", newline="") as file:
        rows = csv.writer(file)
        if start == 0:
            rows.writerow(["step", "loss", "seconds"])
        began, losses = time.time(), []
        for step in range(start, steps):
            for group in optimizer.param_groups:
                decayed = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / steps))
                group["lr"] = lr * min(1, (step + 1) / 200) * decayed
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = loss_of(step)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            decay = min(0.998, (1 + step) / (10 + step))
            with torch.no_grad():
                for key, value in module.state_dict().items():
                    average[key].lerp_(value, 1 - decay) if value.is_floating_point() else average[key].copy_(
                        value
                    )
            losses.append(loss.item())
            if (step + 1) % 50 == 0 or step + 1 == steps:
                rows.writerow([step + 1, f"{np.mean(losses):.5f}", f"{time.time() - began:.0f}"])
                file.flush()
                print(
                    f"{name} {step + 1}/{steps} loss {np.mean(losses):.5f} {time.time() - began:.0f} s",
                    flush=True,
                )
                losses = []
            if (step + 1) % 250 == 0 or step + 1 == steps:
                state = {
                    "module": module.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "average": average,
                    "step": step + 1,
                }
                torch.save(state, checkpoint.with_suffix(".tmp"))
                checkpoint.with_suffix(".tmp").replace(checkpoint)
    module.load_state_dict(average)


def _to_tensor(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1


def _colours(images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Change gain and offset of each channel in half of the images, because real skin has other colours."""
    gain = torch.from_numpy(rng.uniform(0.6, 1.3, (len(images), 3, 1, 1)).astype(np.float32))
    offset = torch.from_numpy(rng.uniform(-0.3, 0.3, (len(images), 3, 1, 1)).astype(np.float32))
    changed = torch.from_numpy(rng.random((len(images), 1, 1, 1)) < 0.5)
    return torch.where(changed, (images * gain + offset).clamp(-1, 1), images)


def _flips(images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    return images.flip([d for d in (2, 3) if rng.random() < 0.5])


@torch.no_grad()
def _encode(vae: AutoencoderKL, images: np.ndarray) -> torch.Tensor:
    """Encode images into scaled latents (n, 4, 16, 16)."""
    chunks = np.array_split(images, max(1, len(images) // 64))
    return (
        torch.cat([vae.encode(_to_tensor(c)).latent_dist.sample() for c in chunks])
        * vae.config.scaling_factor
    )


# -------------------------------------------------------------------------------- export and measurement


def export(vae, text_encoder, tokenizer, unet, out: Path) -> None:
    """Write a diffusers folder in fp16 safetensors, which must be at most 12 MB."""
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=_noise_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.to(dtype=torch.float16).save_pretrained(out)
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file()) / 1e6
    print(f"phantom-sd: {size:.1f} MB in {out}")
    assert size <= 12, f"{size:.1f} MB is more than the 12 MB a package should carry"
    pipeline.to(dtype=torch.float32)


@torch.no_grad()
def measure(vae: AutoencoderKL, folder: Path, count: int = 256) -> None:
    """Print the PSNR of the VAE on photographs resized to 64x64, which it was not trained on."""
    files = sorted(folder.glob("*.jpg"))
    files = files[:: max(1, len(files) // count)]
    images = np.stack(
        [
            np.asarray(Image.open(f).convert("RGB").resize((SIZE, SIZE), Image.Resampling.LANCZOS))
            for f in files
        ]
    )
    decoded = vae.decode(vae.encode(_to_tensor(images)).latent_dist.mean).sample.clamp(-1, 1)
    mse = (decoded - _to_tensor(images)).square().mean((1, 2, 3)) / 4
    psnr = -10 * mse.log10()
    print(f"PSNR of {len(files)} photographs: mean {psnr.mean():.2f} dB, worst {psnr.min():.2f} dB")


if __name__ == "__main__":
    main()

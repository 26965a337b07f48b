"""Models that need few steps, and what their own descriptions ask for."""

# A scheduler of None is the model's own.
LIGHTNING, LCM, KARRAS = "lightning", "lcm", "dpmpp_2m_sde_karras"

# A model of SDXL, and its steps, guidance and scheduler.
MODELS = [
    ("ByteDance/SDXL-Lightning", 4, 0, LIGHTNING),
    ("/models/sdxl_lightning_2step.safetensors", 2, 0, LIGHTNING),
    ("~/models/sdxl_lightning_8step.safetensors", 8, 0, LIGHTNING),
    ("juggernautXL_v9Rdphoto2Lightning.safetensors", 4, 0, LIGHTNING),
    ("stabilityai/sdxl-turbo", 4, 0, None),
    ("sd_xl_turbo_1.0_fp16.safetensors", 4, 0, LIGHTNING),
    ("Lykon/dreamshaper-xl-v2-turbo", 6, 2, KARRAS),
    ("/models/DreamShaperXL_Turbo_v2.safetensors", 6, 2, KARRAS),
    ("turbovisionxl", 6, 2, KARRAS),
    ("/models/sdxl_lightning_v1.5step.safetensors", 4, 0, LIGHTNING),
    ("models/Hyper-SDXL-4steps.safetensors", 4, 0, LIGHTNING),
    ("models/Hyper-SDXL-8steps-CFG.safetensors", 8, 5, LIGHTNING),
    ("somebody/RealVisXL-DMD2", 4, 1, LCM),
    ("./dmd2_sdxl_4step_unet_fp16.safetensors", 4, 1, LCM),
    ("DreamShaperXL_LCM.safetensors", 4, 1, LCM),
    ("somebody/model-lcm-6-steps", 6, 1, LCM),
]
# Of WAN: four steps without guidance.
WAN = [
    "lightx2v/Wan2.1-T2V-14B-StepDistill-CfgDistill",
    "/models/Wan2.1-T2V-14B-CausVid",
    "gdhe17/Self-Forcing",
    "lightx2v/Wan2.2-Lightning",
    "quanhaol/Wan2.2-TI2V-5B-Turbo",
]

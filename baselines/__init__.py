"""What papers are compared with. One line a module:

- `losses`: classification losses of logits
- `overlap_losses`: soft Dice and Tversky
- `contrastive`: SupCon and NT-Xent on features
- `training`: the one training loop, schedules, augmentation
- `tuning`: choosing hyper-parameters on validation data
- `label_noise`: labels struck by noise of known kind and rate
- `distillation`: teachers trained once for all papers, objectives of students
- `calibration`: maps from logits to probabilities fitted on validation data
- `metrics`: translation, ranking, segmentation
- `models`: ResNets for 32x32 images, small networks for digits
- `transformer_models`: small transformers of timm and transformers
- `adaptation`: test-time adaptation of a stream of batches
- `loss_landscape`: a loss along directions in parameter space
- `step_safeguards`: bounds on an optimiser's step
- `power_laws`: scaling laws fitted to points
- `quantisation`: quantisers of weights and activations
- `digits`: splits and batches of scikit-learn's digits
- `corpora`: real text as tokens, in splits and rows
- `ngrams`: n-gram models with Witten-Bell smoothing
- `language_models`: scoring texts, pretrained causal models
- `tagging`: IOB2 spans, features of words, a small BiLSTM
- `reinforcement.problems`: problems with checked answers
- `reinforcement.policies`: small policies that act on prompts
- `reinforcement.rollouts`: the one loop of reinforcement learning
- `reinforcement.policy_gradient`: REINFORCE, PPO, GRPO, KL penalties
- `reinforcement.tabular_policies`: softmax policies in tables, in closed form
- `reinforcement.pretrained_policies`: published language models as policies
"""

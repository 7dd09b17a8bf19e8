// What the numbers mean, for tooltips and the help.

export const MEANINGS = {
  score: 'Quality of the label, 0 to 1: the mean of what follows, as the run weighs it. Low is suspicious.',
  rank: 'Position among all labels by the score; 1 is the worst.',
  shape: 'How likely the VAE takes the shape of the label to be, 0 to 1. Low is an unusual shape.',
  edges: 'How much the image changes across the outline. Low: the outline does not lie on an edge.',
  uniformity: 'How even the image is inside the outline.',
  'checkpoints agree': 'Dice of the label with those of other checkpoints of the GAN.',
  changed: 'How much the label differs from that of the round before: 1 minus Dice.',
  selection: 'Whether the round learned from the label, and its weight in the loss.',
  'prediction differs': 'How much the final network disagrees with the label: 1 minus Dice.',
  'area / median': 'Area of the label divided by the median area of all labels.',
  Dice: 'Overlap with the human mask, which training never saw.',
  'final Dice': 'Overlap of the final prediction with the human mask.',
}

export const KEYS = [
  ['← →', 'previous, next case'],
  ['↑ ↓', 'a row up, down'],
  ['Page ↑ ↓', 'a page back, on'],
  ['a r', 'accept, reject; the same key again takes it back'],
  ['u', 'undo the last step'],
  ['1 … 7', 'show or hide a layer'],
  ['b x', 'brush, eraser; size: wheel or [ ]; Ctrl and wheel zooms; the right button drags'],
  ['d f g', 'delete a piece, fill a hole, polygon'],
  ['e p', 'fit an ellipse, take the prediction'],
  ['Enter Esc', 'save, or leave, a correction'],
  ['/', 'search for an id'],
  ['Shift click', 'choose several cases; a lasso in the scatter, too'],
  ['?', 'this help'],
]

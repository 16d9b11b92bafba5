/* SPDX-License-Identifier: Apache-2.0 */
/* akin/akin.h - everything. Read the headers in this order:
 *
 *   core.h        the context: errors, memory, random numbers
 *   tensor.h      arrays and shapes
 *   ops.h         what can be computed; every op has a gradient
 *   autograd.h    backward, the tape, checking gradients
 *   nn.h          layers, encoders
 *   transformer.h attention, transformers, generation
 *   recompute.h   less memory for one more forward pass; large batches in chunks
 *   models.h      T5, CLIP, Q-Former
 *   weights.h     weights from other libraries and for them, adapters
 *   sequence.h    encoders of series, sets of ids and tables
 *   sound.h       mel spectra, what encoders of sound take
 *   memory.h      what outlives a step: queues, banks, clusters
 *   losses.h      what makes an embedding contrastive
 *   optim.h       optimisers and schedules
 *   heads.h       heads by name, poolings of maps, momentum encoders
 *   dataset.h     data sets: items with named fields, parts of them
 *   data.h        the loader: batches and augmented views
 *   picture.h     picture files, sizes, more augmentations, mixtures, grids
 *   audio.h       sound files, other rates, views of sounds
 *   files.h       data sets of one's own files
 *   cache.h       prepared data sets, scenes that are drawn
 *   inputs.h      batches as what a module takes
 *   eval.h        how good an embedding is
 *   eval_classes.h   labels, clusters and scores against the truth
 *   eval_compare.h   how sure a figure is, whether two differ
 *   eval_geometry.h  the shape of an embedding
 *   eval_retrieval.h   search: recall, ranks, precision
 *   report.h      progress, run folders, settings
 *   study.h       methods compared: arms, seeds, intervals, claims
 *   page.h        a run as a page, embeddings on a plane
 *   checkpoint.h  save and resume
 *   io.h          files of numbers
 *   op.h          ops of one's own
 */
#ifndef AKIN_AKIN_H
#define AKIN_AKIN_H

#include <akin/audio.h>
#include <akin/autograd.h>
#include <akin/cache.h>
#include <akin/checkpoint.h>
#include <akin/core.h>
#include <akin/data.h>
#include <akin/dataset.h>
#include <akin/eval.h>
#include <akin/eval_classes.h>
#include <akin/eval_compare.h>
#include <akin/eval_geometry.h>
#include <akin/eval_retrieval.h>
#include <akin/files.h>
#include <akin/heads.h>
#include <akin/inputs.h>
#include <akin/io.h>
#include <akin/losses.h>
#include <akin/memory.h>
#include <akin/models.h>
#include <akin/nn.h>
#include <akin/op.h>
#include <akin/ops.h>
#include <akin/optim.h>
#include <akin/page.h>
#include <akin/picture.h>
#include <akin/recompute.h>
#include <akin/report.h>
#include <akin/sequence.h>
#include <akin/sound.h>
#include <akin/study.h>
#include <akin/tensor.h>
#include <akin/transformer.h>
#include <akin/weights.h>

#endif

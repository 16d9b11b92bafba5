#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write a call for every pointer argument of every public function, for test_null.c.

    make_null_calls.py OUT HEADER..

Each call has usable values for all arguments but one, which the test hands in: NULL, poison, a
stale or a foreign tensor. A function with an argument that no rule below covers fails the build, so
that none is forgotten: give its type a value in VALUES, or the argument one in ARGUMENTS."""
import re
import sys

# Usable values by type. w is the world that test_null.c builds in each child process.
VALUES = {
    'ak_ctx *': 'w.ctx', 'ak_tensor *': 'w.x', 'ak_tensor *const *': 'w.list',
    'ak_tensor **': 'w.out', 'ak_index *': 'w.ids', 'ak_index **': '&w.found',
    'ak_operands': '(ak_operands){ w.list, 1, NULL, 0 }', 'ak_reduction': 'AK_REDUCE_MEAN',
    'ak_module *': 'w.net',
    'ak_module *const *': 'w.parts',
    'ak_dataset *': 'w.set', 'ak_dataset **': 'w.sets', 'ak_field *': 'w.fields',
    'ak_join *': 'w.joins', 'ak_item_fn': 'w.fill', 'ak_item_test': 'w.test',
    'ak_field': 'w.fields[1]', 'ak_field_kind': 'AK_FIELD_VECTOR',
    'ak_loader *': 'w.loader', 'ak_batch *': '&w.batch',
    'ak_retrieval *': 'w.retrievals', 'ak_roc_point *': 'w.points',
    'ak_features *': 'w.features', 'ak_eval_result *': 'w.results', 'ak_optim *': 'w.optim',
    'ak_npz *': 'w.npz', 'ak_safetensors *': 'w.safetensors',
    'ak_array *': 'w.array', 'ak_table *': 'w.table', 'ak_run *': 'w.run',
    'ak_progress *': 'w.progress', 'ak_value *': 'w.values', 'ak_average *': '&w.average',
    'ak_op *': 'w.op', 'ak_sample *': 'w.op->samples', 'ak_call *': 'w.call',
    'ak_gradcheck *': '&w.check', 'ak_augment *': 'w.augment',
    'ak_real *': 'w.reals', 'double *': 'w.doubles', 'float *': 'w.floats', 'int *': 'w.ints',
    'int32_t *': 'w.numbers32', 'int64_t *': 'w.numbers64', 'uint8_t *': 'w.bytes',
    'bool *': '&w.flag', 'char *': 'w.text', 'const char *': '"name"', 'void *': '&w',
    'const char *const *': 'w.names', 'const char **': '&w.string', 'FILE *': 'w.file',
    'ak_error_fn': 'NULL', 'ak_log_fn': 'NULL', 'ak_forward_fn': 'w.forward',
    'ak_grad_fn': 'w.closure', 'ak_segment_fn': 'w.closure',
    'int': '1', 'unsigned': '1', 'int32_t': '1', 'int64_t': '1', 'uint64_t': '1', 'uint32_t': '1',
    'size_t': 'sizeof w.text', 'double': '0.5', 'bool': 'true', 'ak_status': 'AK_ERR_VALUE',
    'ak_log_level': 'AK_LOG_INFO', 'ak_activation': 'AK_RELU', 'ak_shape': 'AK_SHAPE(2, 2)',
    'ak_type': 'AK_TYPE_F32', 'ak_mark': 'ak_mark_step(w.ctx)',
    'ak_weight_map': '(ak_weight_map){ 0 }',
    'ak_init': '(ak_init){ 0 }', 'ak_inputs': '(ak_inputs){ .x = w.x }',
    'ak_module_kind *': '&w.kind', 'ak_inputs_fn': 'NULL', 'ak_schedule': '(ak_schedule){ 0 }',
    'ak_loader_state': '(ak_loader_state){ 0 }', 'ak_queue *': 'w.queue', 'ak_bank *': 'w.bank',
    'ak_sample_state *': 'w.averages', 'ak_momentum *': 'w.momentum', 'ak_mel *': 'w.mel',
    'ak_gru_weights': '(ak_gru_weights){ w.gates, w.gates, NULL, NULL }',
    'ak_gate': 'AK_GATE_SILU', 'ak_decoding *': 'w.seen', 'ak_vit_pooling': 'AK_VIT_MEAN',
    'ak_qformer_mode': 'AK_QFORMER_MATCH', 'ak_filter': 'AK_FILTER_BILINEAR',
    'ak_study_run *': 'w.study_run', 'ak_study *': '&w.study', 'char **': 'w.arguments',
    'ak_study_score_fn': 'w.score', 'ak_measure': '(ak_measure){ 0 }',
}
# Usable values of arguments for which the one by type does not do.
ARGUMENTS = {
    ('ak_concat', 'axis'): '0', ('ak_concat_n', 'axis'): '0', ('ak_concat_n', 'n'): '2',
    ('ak_stack', 'n'): '2', ('ak_apply', 'in'): 'w.list', ('ak_apply', 'attr'): 'NULL',
    ('ak_random_permutation', 'n'): '4', ('ak_gradcheck_op', 'op'): 'w.op',
    ('ak_loss_ntxent_list', 'V'): '2', ('ak_features_open', 'enc'): 'NULL',
    ('ak_module_load_safetensors', 'path'): '"net.safetensors"',
    ('ak_module_load_npz_with', 'path'): '"net.npz"',
    ('ak_lora_add', 'm'): 'w.lora', ('ak_lora_add', 'pattern'): '"lora"',
    ('ak_lora_merge', 'm'): 'w.adapted', ('ak_lora_unmerge', 'm'): 'w.merged',
    ('ak_lora_save', 'm'): 'w.adapted', ('ak_lora_load', 'm'): 'w.adapted',
    ('ak_lora_load', 'path'): '"adapter.safetensors"', ('ak_checkpoint_look', 'path'): '"net.ckpt"',
    ('ak_weights_convert', 'in'): '"a.npz"', ('ak_weights_convert', 'out'): '"b.npz"',
    ('ak_optim_layer_decay', 'layers'): 'w.layers',
    ('ak_safetensors_read', 'i'): '0', ('ak_safetensors_read', 'to'): 'w.x',
    ('ak_safetensors_write', 'n'): '2', ('ak_safetensors_write', 'metadata'): 'NULL',
    ('ak_safetensors_write_arrays', 'metadata'): 'NULL',
    ('ak_npz_write', 'n'): '2', ('ak_npz_write_deflated', 'n'): '2',
    ('ak_sample_run', 'in'): 'w.out', ('ak_dataset_memory', 'shape'): 'AK_SHAPE(2, 2)',
    ('ak_nn_residual', 'shortcut'): 'NULL', ('ak_nn_conv_norm', 'conv'): 'w.conv',
    ('ak_nn_conv_norm', 'norm'): 'w.norm', ('ak_module_end', 'm'): 'ak_module_begin(w.net)',
    ('ak_module_load_npz', 'path'): '"net.npz"', ('ak_on_log', 'user'): 'NULL',
    ('ak_call_done_reading', 'i'): '0', ('ak_call_grad', 'i'): '0',
    ('ak_call_grad_fresh', 'i'): '0', ('ak_call_grad_over', 'i'): '0',
    ('ak_gradcheck_fn', 'in'): 'w.kept', ('ak_gradcheck_fn', 'n'): '1',
    ('ak_loss_supcon', 'z'): 'w.cube', ('ak_loss_supcon_composed', 'z'): 'w.cube',
    ('ak_dataset_npz', 'path'): '"a.npz"', ('ak_dataset_npz', 'items'): '"name"',
    ('ak_dataset_rename', 'field'): '"vector"', ('ak_dataset_drop', 'field'): '"vector"',
    ('ak_dataset_scale_field', 'field'): '"vector"',
    ('ak_dataset_normalize_field', 'field'): '"vector"', ('ak_batch_field', 'name'): '"vector"',
    ('ak_batch_need', 'name'): '"vector"', ('ak_batch_views', 'field'): '"vector"',
    ('ak_batch_views', 'first'): '0', ('ak_batch_inputs', 'field'): '"vector"',
    ('ak_batch_inputs', 'view'): '0', ('ak_dataset_value', 'field'): '"label"',
    ('ak_dataset_callback', 'fields'): 'w.fields',
    ('ak_dataset_callback', 'size'): '4',
    ('ak_page_embedding', 'rows'): '(ak_page_rows){ .features = w.x }',
    ('ak_eval_knn', 'options'): '(ak_knn_options){ .k = 1 }',
    ('ak_sample_state_update', 'values'): 'w.vector',
    ('ak_sample_state_write', 'values'): 'w.vector', ('ak_kmeans_assign', 'spherical'): 'false',
    ('ak_bank_set_labels', 'labels'): 'w.ids',
    ('ak_segment_sum', 'count'): '2', ('ak_segment_mean', 'count'): '2',
    ('ak_segment_max', 'count'): '2', ('ak_segment_softmax', 'count'): '2',
    ('ak_apply_all', 'attr'): 'NULL', ('ak_call_index_range', 'k'): 'w.index_call',
    ('ak_call_index_range', 'i'): '0', ('ak_call_index_range', 'lo'): '0',
    ('ak_call_index_range', 'hi'): '2', ('ak_call_index_shape', 'k'): 'w.index_call',
    ('ak_call_index_shape', 'i'): '0', ('ak_call_index_shape', 'shape'): 'AK_SHAPE(2)',
    ('ak_gru', 'x'): 'w.cube', ('ak_last_state', 'y'): 'w.cube',
    ('ak_embedding_bag', 'ids'): 'w.bags', ('ak_convnet1d_lengths', 'm'): 'w.convnet1d',
    ('ak_convnet1d_pooled', 'm'): 'w.convnet1d', ('ak_convnet1d_pooled', 'x'): 'w.cube',
    ('ak_convnet1d_pooled', 'lengths'): 'w.ones', ('ak_last_state', 'lengths'): 'w.ones',
    ('ak_tabular_fit', 'm'): 'w.tabular',
    ('ak_sound_look', 'info'): '&(ak_sound_info){ 0 }', ('ak_sound_write', 'rate'): '8000',
    ('ak_sound_write', 'x'): 'w.vector', ('ak_sound_resample', 'from'): '8000',
    ('ak_sound_resample', 'to'): '4000',
    ('ak_sound_write', 'encoding'): 'AK_SOUND_S16',
}
# Words and what reads them; features of sequences.
for name in ('mean', 'max', 'last'):
    ARGUMENTS['ak_pool_' + name, 'lengths'] = 'w.lengths'
    ARGUMENTS['ak_pool_' + name, 'mask'] = 'w.mask'
for function in ('ak_pool_first', 'ak_pool_mean', 'ak_pool_max', 'ak_pool_last', 'ak_pool_at'):
    ARGUMENTS[function, 'x'] = 'w.cube'
ARGUMENTS |= {
    ('ak_pool_at', 'ids'): 'w.mask', ('ak_vit_pool', 'tokens'): 'w.cube',
    ('ak_vit_pool', 'front'): '1', ('ak_rotary', 'x'): 'w.volume',
    ('ak_bert_pool', 'm'): 'w.bert', ('ak_bert_pool', 'y'): 'w.cube',
    ('ak_bert_words', 'm'): 'w.masked', ('ak_bert_words', 'h'): 'w.cube',
    ('ak_next_word_loss', 'logits'): 'w.cube', ('ak_next_word_loss', 'ids'): 'w.mask',
    ('ak_next_word_loss', 'lengths'): 'w.lengths', ('ak_generate', 'm'): 'w.gpt',
    ('ak_generate', 'prompt'): 'w.mask', ('ak_generate', 'lengths'): 'w.lengths',
    ('ak_generate', 'o'): '(ak_generate_options){ .steps = 1 }',
    ('ak_log_likelihood', 'm'): 'w.gpt', ('ak_log_likelihood', 'ids'): 'w.mask',
    ('ak_log_likelihood', 'first'): 'w.lengths', ('ak_log_likelihood', 'lengths'): 'w.lengths',
    ('ak_log_likelihood', 'inputs'): '(ak_inputs){ 0 }', ('ak_linear_joined', 'b'): 'NULL',
}
# Whole models: of words, of pictures, of both.
for function in ('ak_t5_encode', 'ak_clip_texts'):
    ARGUMENTS[function, 'in'] = '(ak_inputs){ .ids = w.mask }'
for function in ('ak_clip_pictures', 'ak_clip_texts', 'ak_clip_log_scale'):
    ARGUMENTS[function, 'm'] = 'w.clip'
ARGUMENTS |= {
    ('ak_t5_encode', 'm'): 'w.t5', ('ak_shift_right', 'words'): 'w.mask',
    ('ak_word_loss', 'logits'): 'w.cube', ('ak_word_loss', 'words'): 'w.mask',
    ('ak_clip_pool', 'tower'): 'w.clip_text', ('ak_clip_pool', 'y'): 'w.cube',
    ('ak_clip_pool', 'ids'): 'w.mask', ('ak_clip_cut', 'ids'): 'w.mask',
    ('ak_clip_pictures', 'x'): 'w.picture', ('ak_qformer_run', 'm'): 'w.qformer',
    ('ak_qformer_run', 'in'): '(ak_inputs){ .memory = w.cube, .ids = w.mask }',
}
# Picture files and sizes, mixtures.
for function in ('ak_picture_read', 'ak_picture_fill'):
    ARGUMENTS[function, 'path'] = '"a.png"'
for function in ('ak_picture_resize', 'ak_picture_resize_shorter', 'ak_picture_crop_center',
                 'ak_picture_write_png'):
    ARGUMENTS[function, 'picture'] = 'w.pixels'
for function in ('ak_picture_grid', 'ak_picture_resize_tensor', 'ak_cutmix'):
    ARGUMENTS[function, 'x'] = 'w.picture'
ARGUMENTS |= {
    ('ak_picture_fill', 'options'): '(ak_picture_options){ .height = 1, .width = 1 }',
    ('ak_picture_grid', 'options'): '(ak_grid_options){ .fit = true }',
    ('ak_picture_write_tensor', 'picture'): 'w.bright', ('ak_cutmix', 'labels'): 'w.one',
}
# Vectors of two numbers, pictures and filters for the ops that need them.
for op in ('ak_layer_norm', 'ak_rms_norm', 'ak_group_norm', 'ak_batch_norm', 'ak_batch_norm_add'):
    for name in ('w', 'b'):
        ARGUMENTS[op, name] = 'w.vector'
    for name in ('running_mean', 'running_var'):        # written: no memory of others
        ARGUMENTS[op, name] = 'w.' + name
for op, x, weight in (('ak_conv2d', 'w.picture', 'w.filter2'), ('ak_conv1d', 'w.cube', 'w.filter1'),
                      ('ak_conv2d_transposed', 'w.picture', 'w.filter2')):
    ARGUMENTS[op, 'x'], ARGUMENTS[op, 'w'], ARGUMENTS[op, 'b'] = x, weight, 'w.vector'
for op in ('ak_loss_siglip', 'ak_loss_siglip_composed'):
    ARGUMENTS[op, 'log_scale'] = ARGUMENTS[op, 'bias'] = 'w.number'
for op in ('ak_linear', 'ak_linear_relu'):
    ARGUMENTS[op, 'b'] = 'w.vector'
# Arguments that may be NULL: each header says so. No error may follow.
LEGAL = {
    'ak_close': 'ctx', 'ak_features_close': 'f', 'ak_loader_close': 'loader', 'ak_npz_close': 'f',
    'ak_weights_convert': 'out list',
    'ak_safetensors_close': 'f', 'ak_safetensors_count': 'f', 'ak_safetensors_metadata': 'value',
    'ak_safetensors_write': 'metadata', 'ak_safetensors_write_arrays': 'metadata',
    'ak_on_error': 'fn user', 'ak_on_log': 'fn user', 'ak_apply': 'attr', 'ak_linear': 'b',
    'ak_linear_relu': 'b', 'ak_layer_norm': 'w b', 'ak_rms_norm': 'w', 'ak_group_norm': 'w b',
    'ak_batch_norm': 'w b', 'ak_batch_norm_add': 'skip w b', 'ak_conv2d': 'b', 'ak_conv1d': 'b',
    'ak_conv2d_transposed': 'b', 'ak_loss_clip': 'log_scale', 'ak_loss_clip_composed': 'log_scale',
    'ak_loss_supcon': 'labels', 'ak_loss_supcon_composed': 'labels', 'ak_gradcheck_fn': 'user',
    'ak_recompute': 'user', 'ak_pca': 'share',
    'ak_dataset_npz': 'labels', 'ak_dataset_memory': 'labels', 'ak_dataset_tensor': 'labels',
    'ak_dataset_normalize': 'mean std', 'ak_dataset_ctx': 'ds', 'ak_dataset_size': 'ds',
    'ak_dataset_item': 'ds', 'ak_dataset_classes': 'ds', 'ak_dataset_name': 'ds',
    'ak_loader_batches': 'loader', 'ak_features_open': 'enc', 'ak_features_from': 'what',
    'ak_eval_knn': 'enc', 'ak_eval_linear': 'enc', 'ak_array_at': 'a', 'ak_npz_count': 'f',
    'ak_module_name': 'm', 'ak_module_new': 'user', 'ak_nn_residual': 'body shortcut',
    'ak_nn_sequential': 'parts',
    'ak_env_text': 'otherwise', 'ak_kernel_at': 'isa', 'ak_run_log': 'detail',
    'ak_dataset_callback': 'user', 'ak_dataset_where': 'user', 'ak_dataset_join': 'unmatched',
    'ak_dataset_normalize_field': 'mean std', 'ak_batch_views': 'field', 'ak_batch_inputs': 'field',
    'ak_is_poison': 't', 'ak_sort': 'places', 'ak_topk': 'places', 'ak_apply_all': 'attr',
    'ak_loss_siglip': 'log_scale bias',
    'ak_loss_siglip_composed': 'log_scale bias', 'ak_dataset_class_names': 'ds',
    'ak_bank_gather': 'present', 'ak_pool_mean': 'lengths mask', 'ak_pool_max': 'lengths mask',
    'ak_pool_last': 'lengths mask', 'ak_next_word_loss': 'lengths', 'ak_generate': 'lengths all',
    'ak_log_likelihood': 'lengths', 'ak_linear_joined': 'b', 'ak_decoding_close': 'd',
    'ak_bank_gather': 'present', 'ak_mel_spectrogram': 'lengths', 'ak_last_state': 'lengths',
    'ak_convnet1d_pooled': 'lengths', 'ak_mixup': 'labels', 'ak_cutmix': 'labels',
    'ak_study_result': 'protocol', 'ak_study_choose': 'user',
    'ak_pca': 'share',
}
# Not called: they end the process, or record an error whatever they are handed (tests/unit has
# them).
NOT_CALLED = {'ak_error_die', 'ak_error_exit', 'ak_fail', 'ak_call_constant'}


def prototypes(header):
    text = re.sub(r'/\*.*?\*/', '', open(header).read(), flags=re.S)
    for m in re.finditer(r'AK_API\s+([^;{]+?);', text):
        one = re.sub(r'\s*AK_PRINTF\(.*\)$', '', ' '.join(m.group(1).split()))
        m = re.match(r'(.+?)\b(ak_\w+)\((.*)\)$', one)
        if not m:
            sys.exit(f'{header}: no prototype: {one}')
        yield m.group(2), m.group(3)


def split(argument, function):
    """Type (without const of what is pointed to, but for text) and name of an argument."""
    array = re.match(r'(.+?)(\w+)\[\w*\]$', argument)
    m = re.match(r'(.+?)(\w+)$', f'{array[1].strip()} *{array[2]}' if array else argument)
    if not m:
        sys.exit(f'{function}: an argument without a name: {argument}')
    kind, name = m.group(1).strip(), m.group(2)
    if kind.startswith('const ') and kind not in ('const char *', 'const char *const *',
                                                  'const char **'):
        kind = kind[len('const '):]
    return kind, name


def value(function, kind, name):
    if (function, name) in ARGUMENTS:
        return ARGUMENTS[function, name]
    if kind in VALUES:
        return VALUES[kind]
    if re.match(r'ak_\w+_options$', kind):
        return f'({kind}){{ 0 }}'
    sys.exit(f'{function}: no value for the argument "{kind} {name}": see the tables in {__file__}')


def is_pointer(kind):
    return '*' in kind or kind.endswith('_fn')


OWNED = {'ak_ctx *', 'ak_tensor *', 'ak_index *', 'ak_module *', 'ak_dataset *', 'ak_loader *',
         'ak_queue *', 'ak_bank *', 'ak_sample_state *', 'ak_features *', 'ak_optim *', 'ak_npz *',
         'ak_safetensors *', 'ak_run *', 'ak_progress *', 'ak_call *', 'ak_mel *'}


def main():
    out, functions, calls, rows = [], 0, 0, []
    for header in sys.argv[2:]:
        for function, arguments in prototypes(header):
            parts = [a.strip() for a in arguments.split(',')]
            typed = [split(a, function) for a in parts if a not in ('void', '...')]
            if function in NOT_CALLED or not any(is_pointer(kind) for kind, _ in typed):
                continue
            values = [value(function, kind, name) for kind, name in typed]
            functions += 1
            owned = sum(kind in OWNED for kind, _ in typed)
            for i, (kind, name) in enumerate(typed):
                if not is_pointer(kind):
                    continue
                handed = list(values)
                handed[i] = 'NULL' if kind.endswith('_fn') else 'bad'
                call = f'{function}({", ".join(handed)});'
                unused = '(void)bad; ' if kind.endswith('_fn') else ''
                out.append(f'static void call_{calls}(void *bad) {{ {unused}{call} }}')
                what = {'ak_tensor *': 'TENSOR', 'ak_index *': 'INDEX'}.get(kind, 'OTHER')
                legal = name in LEGAL.get(function, '').split()
                flags = ', '.join('true' if flag else 'false' for flag in (legal, owned > 1))
                rows.append(f'    {{ "{function}", "{name}", call_{calls}, {what}, {flags} }},')
                calls += 1
    with open(sys.argv[1], 'w') as f:
        f.write('/* Written by make_null_calls.py. */\n' + '\n'.join(out) +
                '\n\nstatic const null_call null_calls[] = {\n' + '\n'.join(rows) + '\n};\n' +
                f'enum {{ NULL_CALLS = {calls}, NULL_FUNCTIONS = {functions} }};\n')


main()

/* SPDX-License-Identifier: Apache-2.0 */
#include "api/head_settings.h"

#include "features/descriptor.h"
#include "heads/flow.h"
#include "heads/knn.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const levels[] = {"patch", "image"};

cz_status cz_head_settings_write(const cz_model *m, json_t *head)
{
    const cz_head_config *c = &m->head->config;
    char seed[17];
    if (strcmp(m->detector, "knn") == 0) {
        json_t *knn = json_pack("{s:I}", "bank", (json_int_t)c->bank);
        return knn != NULL && json_object_set_new(head, "knn", knn) == 0 ? CZ_OK
                                                                         : cz_fail(CZ_E_MEMORY, "out of memory");
    }
    if (strcmp(m->detector, "flow") != 0) return CZ_OK;
    (void)snprintf(seed, sizeof seed, "%016" PRIx64, c->structure_seed); /* as text: JSON's whole numbers end at 2^63 */
    json_t *flow = json_pack("{s:s, s:I, s:I, s:I, s:f, s:s}", "level", levels[m->image_level], "blocks",
                             (json_int_t)c->flow_blocks, "hidden", (json_int_t)c->flow_hidden, "project",
                             (json_int_t)c->flow_project, "clamp", c->flow_clamp, "structure_seed", seed);
    return flow != NULL && json_object_set_new(head, "flow", flow) == 0 ? CZ_OK : cz_fail(CZ_E_MEMORY, "out of memory");
}

/* `name`: of the object and the key, for the message. */
static cz_status get_size(const json_t *from, const char *name, const char *key, size_t low, size_t high, size_t *out)
{
    const json_t *value = json_object_get(from, key);
    const json_int_t whole = json_integer_value(value);
    if (!json_is_integer(value) || whole < 0 || (uint64_t)whole < low || (uint64_t)whole > high)
        return cz_fail(CZ_E_MODEL, "model: \"head.%s.%s\" is missing or not a whole number of %zu to %zu", name, key,
                       low, high);
    *out = (size_t)whole;
    return CZ_OK;
}

static cz_status get_seed(const json_t *from, uint64_t *out)
{
    const char *text = json_string_value(json_object_get(from, "structure_seed"));
    if (text == NULL || strlen(text) != 16 || strspn(text, "0123456789abcdef") != 16)
        return cz_fail(CZ_E_MODEL, "model: \"head.flow.structure_seed\" is missing or not 16 hex digits");
    *out = strtoull(text, NULL, 16);
    return CZ_OK;
}

static cz_status get_level(const json_t *from, bool *image)
{
    const char *text = json_string_value(json_object_get(from, "level"));
    *image = text != NULL && strcmp(text, levels[1]) == 0;
    if (*image || (text != NULL && strcmp(text, levels[0]) == 0)) return CZ_OK;
    return cz_fail(CZ_E_MODEL, "model: \"head.flow.level\" is missing or not patch or image");
}

cz_status cz_head_settings_read(const json_t *head, cz_model *m, cz_head_config *c)
{
    cz_status status;
    if (strcmp(m->detector, "knn") == 0)
        return get_size(json_object_get(head, "knn"), "knn", "bank", 1, CZ_KNN_MAX_BANK, &c->bank);
    if (strcmp(m->detector, "flow") != 0) return CZ_OK;
    const json_t *flow = json_object_get(head, "flow");
    if (!json_is_object(flow)) return cz_fail(CZ_E_MODEL, "model: \"head.flow\" is missing or not an object");
    CZ_TRY(get_size(flow, "flow", "blocks", 1, CZ_FLOW_MAX_BLOCKS, &c->flow_blocks));
    CZ_TRY(get_size(flow, "flow", "hidden", 0, CZ_HEAD_MAX_WIDTH, &c->flow_hidden));
    CZ_TRY(get_size(flow, "flow", "project", 0, CZ_HEAD_MAX_WIDTH, &c->flow_project));
    c->flow_clamp = json_number_value(json_object_get(flow, "clamp"));
    if (!isfinite(c->flow_clamp) || !(c->flow_clamp > 0.0)) /* a missing one is 0 */
        return cz_fail(CZ_E_MODEL, "model: \"head.flow.clamp\" is missing or not a positive number");
    CZ_TRY(get_seed(flow, &c->structure_seed));
    CZ_TRY(get_level(flow, &m->image_level));
    if (m->image_level) c->width = cz_descriptor_width(c->width); /* checked by the head */
out:
    return status;
}

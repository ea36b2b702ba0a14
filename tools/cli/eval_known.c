/* SPDX-License-Identifier: Apache-2.0 */
/* What a model says that it has learnt from: training, adapting, and adapting before that. */
#include "eval.h"

#include <string.h>
#include <strings.h>

static void take_hashes(json_t *known, const json_t *part)
{
    const json_t *list = json_object_get(part, "pixels_sha256"), *one;
    size_t index;
    json_array_foreach(list, index, one)
    {
        if (json_is_string(one)) (void)json_object_set_new(known, json_string_value(one), json_true());
    }
}

json_t *eval_known_photos(const cz_model *model)
{
    json_t *known = json_object(), *meta = json_loads(cz_model_json(model), 0, NULL);
    if (known != NULL) {
        take_hashes(known, json_object_get(meta, "training"));
        for (const json_t *part = json_object_get(meta, "adapted"); part != NULL;
             part = json_object_get(part, "earlier")) {
            take_hashes(known, part);
        }
    }
    json_decref(meta);
    return known;
}

bool eval_known(const json_t *known, const cz_image *photo, uint8_t digest[32])
{
    char hex[65];
    cz_image_sha256(photo, digest);
    for (size_t i = 0; i < 32; i++) (void)snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    return json_object_get(known, hex) != NULL;
}

void eval_add_digest(uint8_t sum[32], const uint8_t digest[32])
{
    for (unsigned i = 32, carry = 0; i-- > 0;) {
        carry += (unsigned)sum[i] + digest[i];
        sum[i] = (uint8_t)carry;
        carry >>= 8;
    }
}

bool eval_known_category(const cz_model *model, const char *name)
{
    json_t *meta = json_loads(cz_model_json(model), 0, NULL), *one;
    const json_t *list = json_object_get(json_object_get(meta, "training"), "categories");
    size_t index;
    bool found = false;
    json_array_foreach(list, index, one)
    {
        const char *learnt = json_string_value(json_object_get(one, "name"));
        if (learnt == NULL || learnt[0] == '\0') continue;
        const char *slash = strrchr(learnt, '/');
        found = found || strcasecmp(slash != NULL ? slash + 1 : learnt, name) == 0;
    }
    json_decref(meta);
    return found;
}

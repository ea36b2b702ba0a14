/* SPDX-License-Identifier: Apache-2.0 */
#include "api/model.h"
#include "api/weights_find.h"

#include <string.h>
#include <unistd.h>

/* The weights that the model was trained with: where they were then, else wherever their SHA-256 is found. */
static cz_status find_backbone(const cz_model *m, cz_backbone **out)
{
    const char *path = json_string_value(json_object_get(json_object_get(m->meta, "backbone"), "path"));
    if (path != NULL && path[0] != '\0' && access(path, R_OK) == 0) {
        if (cz_backbone_open(path, out) == CZ_OK) {
            if (strcmp(cz_backbone_sha256(*out), m->backbone_sha256) == 0) return CZ_OK;
            cz_backbone_close(*out);
        }
        cz_error_clear();
    }
    return cz_backbone_open_sha(m->backbone_sha256, m->backbone_name, out);
}

cz_status cz_model_open(const char *path, cz_backbone *backbone, cz_model **out)
{
    cz_error_clear();
    cz_status status;
    cz_model *m = NULL;
    CZ_TRY(cz_model_inspect(path, &m));
    if (backbone != NULL) {
        m->backbone = cz_backbone_retain(backbone);
    } else {
        CZ_TRY(find_backbone(m, &m->backbone));
    }
    if (strcmp(cz_backbone_sha256(m->backbone), m->backbone_sha256) != 0) {
        status = cz_fail(
            CZ_E_WEIGHTS,
            "%s: was trained with backbone %s (SHA-256 %.12s…), these weights are %s (%.12s…): give the right "
            "ones with --backbone",
            path, m->backbone_name, m->backbone_sha256, cz_backbone_name(m->backbone), cz_backbone_sha256(m->backbone));
        goto out;
    }
    *out = m;
    m = NULL;
out:
    cz_model_close(m);
    return status;
}

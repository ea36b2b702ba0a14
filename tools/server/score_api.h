/* SPDX-License-Identifier: Apache-2.0 */
/* The HTTP side of scoring: /v2…, /score, /api/models, /api/history, /metrics, /openapi.json: adds its routes. */
#ifndef SV_SCORE_API_H
#define SV_SCORE_API_H

#include "events.h"
#include "http.h"
#include "oip.h"

typedef struct sv_score_api sv_score_api;
struct sv_studio;

cz_status sv_score_api_open(const sv_settings *settings, sv_http *http, sv_models *models, sv_pool *pool,
                            sv_events *events, struct sv_studio *studio, sv_score_api **out);
void sv_score_api_free(sv_score_api *a);
/* The JSON of POST /score for one image (docs/serve.md); a new reference. */
json_t *sv_score_json(const sv_model *model, const char *name, const sv_outcome *outcome);

#endif

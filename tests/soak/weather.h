/* weather.h - what happens between the start and the end of a soak. */
#ifndef WEATHER_H
#define WEATHER_H

#include "table.h"
#include <signal.h>

/* Set by a signal: no more storms, but all the rest. */
extern volatile sig_atomic_t weather_interrupted;

/* Once what is started with a server stands. */
void weather_read_start(soak *s, party *p);
/* A storm, a calm, a storm, a calm, and a storm in which the servers have to stop. */
void weather(soak *s);

#endif

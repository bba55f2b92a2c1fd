/* The rule of steps (docs/architecture.md, "Steps"; supervisor/ledger.py), for the ending of one pairing:

     session -STORE-> vault -STORED-> session -SEND-> swarm -ACKNOWLEDGED-> session
             -CONFIRM-> vault -CONFIRMED-> session

   Any process is killed at any time, alone or all of them at once, KILLS times in all. A step that is in the pipe when
   its sender dies either arrives whole, and is applied before the sender is started again, or is lost whole.

   Properties:
     ONCE       each input changes the store once, and a pairing that is done has changed it
     ONE_FRAME  all frames that leave under one key are the same bytes
     FINISHES   when nothing can happen any more, the session is done
     REACHED    must fail: it can be done

   Mistakes that the properties must see:
     OUTPUT_FIRST   what a step sends leaves before the step is applied
     NO_CHECKPOINT  the input is removed, and the checkpoint is not kept with it
     NO_JOURNAL     the vault keeps no ids of inputs
     NEW_ID         an input that is delivered again has another id
     NOT_TOLD       the session does not hear that the swarm was started again
*/

#ifndef KILLS
#define KILLS 3
#endif

mtype = { BEGIN, STORED, ACKNOWLEDGED, CONFIRMED, SWARM_BACK, STORE, SEND, CONFIRM, NOTHING,
          NEW, STORING, SENDING, CONFIRMING, DONE };

/* the supervisor: inboxes, whose first input stays until its step is applied, and the checkpoint */
chan to_session = [12] of { mtype };
chan to_vault = [4] of { mtype, byte };
chan to_swarm = [12] of { byte };
mtype kept_phase = NEW; byte kept_frame; byte next_id = 1;
/* the session's process, and its step in the pipe */
bit session_up = 1; mtype phase = NEW; byte frame;
bit step_comes; mtype step_phase; byte step_frame; mtype step_out;
/* the vault's process, its file, and its step in the pipe */
bit vault_up = 1; bit committed; bit vault_step_comes; int journal; byte stored; byte confirmed;
/* the swarm and the wire */
bit swarm_up = 1; byte wire;
byte kills = KILLS;

inline send_out(out, f) {
  if
  :: out==STORE || out==CONFIRM -> to_vault!out,next_id; next_id++
  :: out==SEND -> if :: swarm_up -> to_swarm!f :: else fi
  :: else
  fi
}

active proctype Session() {
  mtype input = NOTHING;
end: do
  :: atomic { session_up && !step_comes && nempty(to_session) && phase!=DONE ->
       to_session?<input>; step_out = NOTHING;
       if
       :: input==BEGIN && phase==NEW -> phase = STORING; step_out = STORE
       :: input==STORED && phase==STORING -> phase = SENDING; step_out = SEND;
          if :: frame = 1 :: frame = 2 fi       /* from fresh randomness */
       :: input==SWARM_BACK && phase==SENDING -> step_out = SEND
       :: input==ACKNOWLEDGED && phase==SENDING -> phase = CONFIRMING; step_out = CONFIRM
       :: input==CONFIRMED && phase==CONFIRMING -> phase = DONE
       :: else
       fi;
       input = NOTHING; step_phase = phase; step_frame = frame; step_comes = 1;
#ifdef OUTPUT_FIRST
       send_out(step_out, step_frame); step_out = NOTHING
#endif
     }
  od
}

active proctype Vault() {
  mtype input = NOTHING; byte id;
end: do
  :: atomic { vault_up && !vault_step_comes && !committed && nempty(to_vault) ->
       to_vault?<input,id>;
#ifdef NEW_ID
       id = next_id; next_id++;
#endif
       if
#ifndef NO_JOURNAL
       :: (journal>>id)&1
#endif
       :: else -> journal = journal | (1<<id);
          if :: input==STORE -> stored++ :: input==CONFIRM -> confirmed++ fi
       fi;
#ifdef ONCE
       assert(stored<=1 && confirmed<=1);
#endif
       committed = 1; input = NOTHING; id = 0 }
  :: atomic { vault_up && committed && !vault_step_comes -> vault_step_comes = 1 }
  od
}

active proctype Swarm() {
  byte f;
end: do
  :: atomic { swarm_up && nempty(to_swarm) -> to_swarm?f; wire = wire | f; f = 0;
#ifdef ONE_FRAME
       assert(wire!=3);
#endif
       if :: nfull(to_session) -> to_session!ACKNOWLEDGED :: else fi }
  od
}

active proctype Supervisor() {
  mtype input = NOTHING;
  to_session!BEGIN;
end: do
  :: atomic { step_comes -> step_comes = 0;
#ifdef NO_CHECKPOINT
       if :: session_up -> kept_phase = step_phase; kept_frame = step_frame :: else fi;
#else
       kept_phase = step_phase; kept_frame = step_frame;
#endif
       to_session?_;
       send_out(step_out, step_frame); step_out = NOTHING; step_frame = 0;
#ifdef ONCE
       assert(kept_phase!=DONE || (stored==1 && confirmed==1));
#endif
       skip }
  :: atomic { vault_step_comes && nfull(to_session) -> vault_step_comes = 0; committed = 0; to_vault?input,_;
       if :: input==STORE -> to_session!STORED :: else -> to_session!CONFIRMED fi; input = NOTHING }
  /* each is started again, when its pipe is empty */
  :: atomic { !session_up && !step_comes -> session_up = 1; phase = kept_phase; frame = kept_frame }
  :: atomic { !vault_up && !vault_step_comes -> vault_up = 1; committed = 0 }
  :: atomic { !swarm_up && nfull(to_session) -> swarm_up = 1;
#ifndef NOT_TOLD
       to_session!SWARM_BACK
#endif
     }
  od
}

inline kill_session() {
  if
  :: session_up -> session_up = 0; phase = NEW; frame = 0;
     if :: step_comes -> step_comes = 0; step_out = NOTHING; step_frame = 0 :: true fi
  :: else
  fi
}
inline kill_vault() { if :: vault_up -> vault_up = 0; if :: vault_step_comes = 0 :: true fi :: else fi }
inline kill_swarm() {
  if
  :: swarm_up -> swarm_up = 0; do :: nempty(to_swarm) -> to_swarm?_ :: empty(to_swarm) -> break od
  :: else
  fi
}

active proctype Killer() {
end: do
  :: atomic { kills>0 && session_up -> kills--; kill_session() }
  :: atomic { kills>0 && vault_up -> kills--; kill_vault() }
  :: atomic { kills>0 && swarm_up -> kills--; kill_swarm() }
  :: atomic { kills>0 -> kills--; kill_session(); kill_vault(); kill_swarm() }
  :: atomic { timeout ->
#ifdef FINISHES
       assert(kept_phase==DONE);
#endif
#ifdef REACHED
       assert(kept_phase!=DONE);
#endif
       break }
  od
}

/* The ending and the settling of pairings (docs/protocol.md, "Ending", "Settling", "Which pairing is in use").

   Two devices, 0 and 1, and one or two pairings of them (PAIRINGS), which may overlap in every way. A decision that
   has left may arrive at any later time and any number of times; any answer may be lost. With DELAY an answer, too,
   may be under way for as long as it likes.

   What may happen besides:
     KILL    a node dies with its sessions and what its vault had not stored yet
     FORGET  a user forgets the other device, once on each side
     FULL    a vault does not store
     SLOW    a vault gets to a pairing when the session's time is over
     CLOCK0, CLOCK1   what the clocks stand at, by pairings with other devices; BOUND: how far one lets itself be moved

   Properties:
     REJECTED  no entry is in use whose other side has rejected
     ALONE     an entry in use never stands against none of that pairing, unless the other user forgot it,
               or the other side uses a later one, which is unconfirmed here and takes its place at the next contact
     GRANTED   what is in use was accepted by both users, and acknowledged with the right mac
     KEPT      a device that has a pairing in use keeps one, unless its user forgets
     AGREED    when all sessions have ended and nothing is lost any more, both use the same pairing, or one has
               forgotten; always checked with it: each unconfirmed entry asks once and no more
     REACHED   must fail: both end with the last pairing in use

   What was mended once, each alone makes a property fail:
     C1_AGES     unconfirmed entries go after 7 days
     C2_GOES_ON  forgetting takes the clock back, and what was signed before is stored all the same
     C3_BOUNDED  the order of a pairing bounds the other's clock by the own one
     C4_LATE     a vault stores for a session whose time is over
   And more mistakes that the properties must see:
     SEND_FIRST, ACKNOWLEDGE_FIRST   before the vault has stored
     ANSWER_PAIRS   an entry is in use by having been answered for
     LAST_WINS      the pairing that was completed last is in use
     NO_REPLY       the reply is not kept once an entry is in use
*/

#ifndef PAIRINGS
#define PAIRINGS 1
#endif
#ifndef CLOCK0
#define CLOCK0 0
#endif
#ifndef CLOCK1
#define CLOCK1 0
#endif
#ifndef BOUND
#define BOUND 20
#endif
#define SIDES (2*PAIRINGS)
#define X(d,p) ((d)*PAIRINGS+(p))
#define OTHER(d) (1-(d))
#define MAX(a,b) ((a)>(b) -> (a) : (b))
#define MIN(a,b) ((a)<(b) -> (a) : (b))

/* the phases of a session: actors/session/transitions.py */
mtype = { UNSIGNED, SIGNED, DECIDING, PEER_ACCEPTED, ACCEPTED, STORING_BEFORE_SEND, STORING_AFTER_SEND, AWAITING_ACK,
          TIME_WAIT, REJECTING, ENDED };
/* an entry of the store; a decision; an answer to one */
mtype = { ABSENT, UNCONFIRMED, IN_USE, REPLACED, NOTHING, YES, NO, RECEIVED, CLOSED };

mtype phase[SIDES]; mtype entry[SIDES]; mtype sent[SIDES]; mtype heard[SIDES];
bit acknowledged[SIDES];    /* the own acceptance was, before the vault has stored */
bit to_store[SIDES];        /* the vault has been asked to */
bit overdue[SIDES];         /* the time for delivering the decision is over */
bit barred[SIDES];            /* signed before the device was forgotten */
bit erased[SIDES];          /* the user has forgotten this very entry */
byte stated[SIDES];         /* the clock that was signed */
byte clock[2];
bit forgot[2];
bit greater;                /* the pairing whose th3 is the greater number */
bit calm;                   /* all sessions have ended, and nothing is lost any more */
#ifdef DELAY
bit received_comes[SIDES]; bit closed_comes[SIDES];
#endif
#ifdef GRANTED
bit right_mac[SIDES];
#endif
#ifdef KEPT
bit had[2];
#endif

#ifdef C3_BOUNDED
#define ORDER(d,p) (1+MAX(stated[X(d,p)], MIN(stated[X(OTHER(d),p)], stated[X(d,p)]+BOUND)))
#else
#define ORDER(d,p) (1+MAX(stated[X(d,p)], stated[X(OTHER(d),p)]))
#endif
#define RUNS(d,p) (phase[X(d,p)]!=UNSIGNED && phase[X(d,p)]!=ENDED)
#define ASKS(d,p) (phase[X(d,p)]==ENDED && entry[X(d,p)]==UNCONFIRMED)
#if PAIRINGS==2
#define TWIN(p) (1-(p))
#define BEATS(d,p) (ORDER(d,p)>ORDER(d,TWIN(p)) || (ORDER(d,p)==ORDER(d,TWIN(p)) && greater==(p)))
#define USES(d) (entry[X(d,0)]==IN_USE -> 1 : (entry[X(d,1)]==IN_USE -> 2 : 0))
#define EACH(P) (P(0,0) && P(0,1) && P(1,0) && P(1,1))
#define NONE(P) (!P(0,0) && !P(0,1) && !P(1,0) && !P(1,1))
#else
#define USES(d) (entry[d]==IN_USE -> 1 : 0)
#define EACH(P) (P(0,0) && P(1,0))
#define NONE(P) (!P(0,0) && !P(1,0))
#endif

#define NOT_REJECTED(d,p) (entry[X(d,p)]!=IN_USE || sent[X(OTHER(d),p)]!=NO)
#if PAIRINGS==2
#define IS_SUCCEEDED(d,p) (entry[X(OTHER(d),TWIN(p))]==IN_USE && entry[X(d,TWIN(p))]==UNCONFIRMED)
#define IS_ERASED(d,p) (erased[X(d,p)] || erased[X(d,TWIN(p))])
#else
#define IS_SUCCEEDED(d,p) false
#define IS_ERASED(d,p) erased[X(d,p)]
#endif
#define NOT_ALONE(d,p) (entry[X(d,p)]!=IN_USE || entry[X(OTHER(d),p)]!=ABSENT || IS_ERASED(OTHER(d),p) || \
  IS_SUCCEEDED(d,p))
#define IS_GRANTED(d,p) (entry[X(d,p)]!=IN_USE || (right_mac[X(d,p)] && sent[X(d,p)]==YES && sent[X(OTHER(d),p)]==YES))
#define IS_KEPT(d) (!had[d] || forgot[d] || USES(d)!=0)

inline check() {
#ifdef REJECTED
  assert(EACH(NOT_REJECTED));
#endif
#ifdef ALONE
  assert(EACH(NOT_ALONE));
#endif
#ifdef GRANTED
  assert(EACH(IS_GRANTED));
#endif
#ifdef KEPT
  if :: USES(0)!=0 -> had[0] = 1 :: else fi;
  if :: USES(1)!=0 -> had[1] = 1 :: else fi;
  assert(IS_KEPT(0) && IS_KEPT(1));
#endif
  skip
}

/* -- the vault of device d */

inline put_in_use(d,p) {
  printf("MSC: %d: pairing %d is complete\n", d, p);
#if PAIRINGS==2
  if
#ifdef LAST_WINS
  :: entry[X(d,TWIN(p))]==IN_USE -> entry[X(d,p)] = IN_USE; entry[X(d,TWIN(p))] = REPLACED
#else
  :: entry[X(d,TWIN(p))]==IN_USE && BEATS(d,p) -> entry[X(d,p)] = IN_USE; entry[X(d,TWIN(p))] = REPLACED
  :: entry[X(d,TWIN(p))]==IN_USE && !BEATS(d,p) -> entry[X(d,p)] = REPLACED
#endif
  :: else -> entry[X(d,p)] = IN_USE
  fi
#else
  entry[X(d,p)] = IN_USE
#endif
}

inline end_session(d,p) { phase[X(d,p)] = ENDED; acknowledged[X(d,p)] = 0; heard[X(d,p)] = NOTHING }

inline confirm(d,p) {
  if
  :: entry[X(d,p)]==UNCONFIRMED -> put_in_use(d,p); acknowledged[X(d,p)] = 0; heard[X(d,p)] = NOTHING;
     phase[X(d,p)] = TIME_WAIT
  :: else -> end_session(d,p)      /* forgotten meanwhile */
  fi
}

inline store(d,p) {
  printf("MSC: %d: stores pairing %d\n", d, p);
  to_store[X(d,p)] = 0; entry[X(d,p)] = UNCONFIRMED;
  clock[d] = MAX(clock[d], MIN(ORDER(d,p), clock[d]+1+BOUND));
  if
  :: phase[X(d,p)]==STORING_BEFORE_SEND -> sent[X(d,p)] = YES; phase[X(d,p)] = AWAITING_ACK
  :: phase[X(d,p)]==STORING_AFTER_SEND && !acknowledged[X(d,p)] -> phase[X(d,p)] = AWAITING_ACK
  :: phase[X(d,p)]==STORING_AFTER_SEND && acknowledged[X(d,p)] -> confirm(d,p)
  :: else
  fi
}

inline refuse(d,p) {
  printf("MSC: %d: does not store pairing %d\n", d, p);
  to_store[X(d,p)] = 0;
  if
  :: phase[X(d,p)]==STORING_BEFORE_SEND -> sent[X(d,p)] = NO; phase[X(d,p)] = REJECTING
  :: phase[X(d,p)]==STORING_AFTER_SEND -> end_session(d,p)
  :: else
  fi
}

/* -- device o gets the decision of the other, and answers */

inline get_decision(o,p,answer) {
  answer = NOTHING;
  if
  :: phase[X(o,p)]==UNSIGNED || phase[X(o,p)]==SIGNED      /* busy */
  :: phase[X(o,p)]==TIME_WAIT -> answer = RECEIVED
  :: phase[X(o,p)]==ENDED ->
     if
#ifdef NO_REPLY
     :: entry[X(o,p)]==UNCONFIRMED -> answer = RECEIVED
     :: entry[X(o,p)]!=UNCONFIRMED -> answer = CLOSED
#else
     :: entry[X(o,p)]!=ABSENT -> answer = RECEIVED;
#ifdef ANSWER_PAIRS
        if :: entry[X(o,p)]==UNCONFIRMED -> put_in_use(o,p) :: else fi
#endif
     :: entry[X(o,p)]==ABSENT -> answer = CLOSED
#endif
     fi
  :: else ->
     if
#ifndef ACKNOWLEDGE_FIRST
     :: phase[X(o,p)]==STORING_BEFORE_SEND || phase[X(o,p)]==STORING_AFTER_SEND      /* when it is stored */
#endif
     :: heard[X(o,p)]==NOTHING && sent[X(OTHER(o),p)]==NO -> answer = RECEIVED; end_session(o,p)
     :: heard[X(o,p)]==NOTHING && sent[X(OTHER(o),p)]==YES && phase[X(o,p)]==ACCEPTED ->
        heard[X(o,p)] = YES; phase[X(o,p)] = STORING_AFTER_SEND; to_store[X(o,p)] = 1;
#ifdef ACKNOWLEDGE_FIRST
        answer = RECEIVED
#endif
     :: else -> answer = RECEIVED; heard[X(o,p)] = YES;
        if :: phase[X(o,p)]==DECIDING -> phase[X(o,p)] = PEER_ACCEPTED :: else fi
     fi
  fi;
  printf("MSC: %d: gets the decision on pairing %d: %e\n", o, p, answer)
}

/* -- device d gets an answer to its own decision */

inline get_answer(d,p,answer) {
  if
  :: answer==RECEIVED ->
#ifdef GRANTED
     right_mac[X(d,p)] = 1;
#endif
     if
     :: phase[X(d,p)]==ACCEPTED || phase[X(d,p)]==STORING_AFTER_SEND -> acknowledged[X(d,p)] = 1
     :: phase[X(d,p)]==AWAITING_ACK -> confirm(d,p)
     :: phase[X(d,p)]==REJECTING -> end_session(d,p)
     :: ASKS(d,p) -> put_in_use(d,p)
     :: else
     fi
  :: answer==CLOSED ->
     if
     :: phase[X(d,p)]==ACCEPTED || phase[X(d,p)]==STORING_AFTER_SEND || phase[X(d,p)]==AWAITING_ACK ||
        phase[X(d,p)]==REJECTING -> end_session(d,p)
     :: ASKS(d,p) -> entry[X(d,p)] = ABSENT; printf("MSC: %d: drops pairing %d\n", d, p)
     :: else
     fi
  :: else
  fi
}

#define DELIVERS(d,p) (phase[X(d,p)]==ACCEPTED || phase[X(d,p)]==STORING_AFTER_SEND || \
  phase[X(d,p)]==AWAITING_ACK || phase[X(d,p)]==REJECTING || ASKS(d,p))

proctype Session(byte d; byte p) {
  mtype answer = NOTHING;
end: do
  :: atomic { !calm && phase[X(d,p)]==UNSIGNED ->
       if
       :: phase[X(d,p)] = SIGNED; stated[X(d,p)] = clock[d]; printf("MSC: %d: signs for pairing %d\n", d, p)
       :: end_session(d,p)
       fi }
  :: atomic { !calm && phase[X(d,p)]==SIGNED && phase[X(OTHER(d),p)]!=UNSIGNED ->
       if
       :: !barred[X(d,p)] -> phase[X(d,p)] = DECIDING
       :: barred[X(d,p)] -> phase[X(d,p)] = REJECTING; sent[X(d,p)] = NO
       :: end_session(d,p)
       fi; check() }
  :: atomic { !calm && phase[X(d,p)]==SIGNED && phase[X(OTHER(d),p)]==ENDED -> end_session(d,p) }
  /* the user decides, or the time to decide is over */
  :: atomic { !calm && phase[X(d,p)]==DECIDING -> phase[X(d,p)] = ACCEPTED; sent[X(d,p)] = YES;
       printf("MSC: %d: accepts pairing %d\n", d, p) }
  :: atomic { !calm && phase[X(d,p)]==PEER_ACCEPTED -> phase[X(d,p)] = STORING_BEFORE_SEND; to_store[X(d,p)] = 1;
#ifdef SEND_FIRST
       sent[X(d,p)] = YES;
#endif
       printf("MSC: %d: accepts pairing %d\n", d, p) }
  :: atomic { !calm && (phase[X(d,p)]==DECIDING || phase[X(d,p)]==PEER_ACCEPTED) -> phase[X(d,p)] = REJECTING;
       sent[X(d,p)] = NO; printf("MSC: %d: rejects pairing %d\n", d, p); check() }
  /* its vault */
  :: atomic { !calm && to_store[X(d,p)] ->
       if
       :: barred[X(d,p)] -> refuse(d,p)
#ifndef C4_LATE
       :: overdue[X(d,p)] && !barred[X(d,p)] -> refuse(d,p)
#endif
       :: else -> store(d,p)
       fi; check() }
#ifdef FULL
  :: atomic { !calm && to_store[X(d,p)] -> refuse(d,p); check() }
#endif
  /* its decision reaches the other side, and nobody hears the answer; or it is answered */
  :: atomic { !calm && sent[X(d,p)]!=NOTHING -> get_decision(OTHER(d),p,answer); answer = NOTHING; check() }
#ifdef DELAY
  :: atomic { !calm && sent[X(d,p)]!=NOTHING && DELIVERS(d,p) -> get_decision(OTHER(d),p,answer);
       if :: answer==RECEIVED -> received_comes[X(d,p)] = 1 :: answer==CLOSED -> closed_comes[X(d,p)] = 1 :: else fi;
       answer = NOTHING; check() }
  :: atomic { !calm && received_comes[X(d,p)] -> answer = RECEIVED; get_answer(d,p,answer); answer = NOTHING; check() }
  :: atomic { !calm && closed_comes[X(d,p)] -> answer = CLOSED; get_answer(d,p,answer); answer = NOTHING; check() }
#else
  :: atomic { !calm && sent[X(d,p)]!=NOTHING && DELIVERS(d,p) -> get_decision(OTHER(d),p,answer);
       get_answer(d,p,answer); answer = NOTHING; check() }
#endif
  /* the time for delivering is over; a session whose vault has not answered waits a little longer */
  :: atomic { !calm && (phase[X(d,p)]==ACCEPTED || phase[X(d,p)]==AWAITING_ACK || phase[X(d,p)]==TIME_WAIT ||
       phase[X(d,p)]==REJECTING) -> overdue[X(d,p)] = 1; end_session(d,p) }
#ifdef SLOW
  :: atomic { !calm && !overdue[X(d,p)] && (phase[X(d,p)]==STORING_BEFORE_SEND || phase[X(d,p)]==STORING_AFTER_SEND) ->
       overdue[X(d,p)] = 1 }
  :: atomic { !calm && overdue[X(d,p)] && (phase[X(d,p)]==STORING_BEFORE_SEND || phase[X(d,p)]==STORING_AFTER_SEND) ->
       end_session(d,p); printf("MSC: %d: the time of pairing %d is over\n", d, p) }
#endif
#ifdef C1_AGES
  :: atomic { !calm && ASKS(d,p) && phase[X(OTHER(d),p)]==ENDED && !to_store[X(d,p)] -> entry[X(d,p)] = ABSENT;
       printf("MSC: %d: seven days pass, pairing %d goes\n", d, p); check() }
#endif
  /* another took its place seven days ago */
  :: atomic { !calm && entry[X(d,p)]==REPLACED && phase[X(d,p)]==ENDED && phase[X(OTHER(d),p)]==ENDED &&
       entry[X(OTHER(d),p)]!=UNCONFIRMED && !to_store[X(OTHER(d),p)] -> entry[X(d,p)] = ABSENT; check() }
  od
}

inline die(d,p) {
  if :: RUNS(d,p) -> end_session(d,p) :: else fi;
  to_store[X(d,p)] = 0
}

/* everything that is kept goes; what runs ends: as a rejection if its decision has not left (decision.py) */
inline forget(d,p) {
  if :: entry[X(d,p)]!=ABSENT -> erased[X(d,p)] = 1; entry[X(d,p)] = ABSENT :: else fi;
#ifndef C2_GOES_ON
  if :: phase[X(d,p)]!=UNSIGNED -> barred[X(d,p)] = 1 :: else fi;
  if
  :: phase[X(d,p)]==DECIDING || phase[X(d,p)]==PEER_ACCEPTED || phase[X(d,p)]==STORING_BEFORE_SEND ->
     phase[X(d,p)] = REJECTING; sent[X(d,p)] = NO
  :: phase[X(d,p)]==ACCEPTED || phase[X(d,p)]==STORING_AFTER_SEND || phase[X(d,p)]==AWAITING_ACK ||
     phase[X(d,p)]==TIME_WAIT -> end_session(d,p)
  :: else
  fi
#endif
}

proctype Node(byte d) {
end: do
#ifdef KILL
#if PAIRINGS==2
  :: atomic { !calm && (RUNS(d,0) || RUNS(d,1)) -> die(d,0); die(d,1); printf("MSC: %d: dies\n", d); check() }
#else
  :: atomic { !calm && RUNS(d,0) -> die(d,0); printf("MSC: %d: dies\n", d); check() }
#endif
#endif
#ifdef FORGET
#if PAIRINGS==2
  :: atomic { !calm && !forgot[d] && (entry[X(d,0)]!=ABSENT || entry[X(d,1)]!=ABSENT) -> forget(d,0); forget(d,1);
#else
  :: atomic { !calm && !forgot[d] && entry[d]!=ABSENT -> forget(d,0);
#endif
#ifdef C2_GOES_ON
       clock[d] = (d==0 -> CLOCK0 : CLOCK1);
#endif
       forgot[d] = 1; printf("MSC: %d: forgets the other\n", d); check() }
#endif
  :: false
  od
}

#define IS_OVER(d,p) (phase[X(d,p)]==ENDED && !to_store[X(d,p)])
#define CONTACT(d,p) atomic { ASKS(d,p) -> sent[X(d,p)] = YES; get_decision(OTHER(d),p,answer); \
  get_answer(d,p,answer); answer = NOTHING; asked++; check(); assert(asked<=SIDES) }

proctype Contacts() {
  mtype answer = NOTHING; byte asked;
  atomic { EACH(IS_OVER) -> calm = 1 };
  do
  :: CONTACT(0,0)
  :: CONTACT(1,0)
#if PAIRINGS==2
  :: CONTACT(0,1)
  :: CONTACT(1,1)
#endif
  :: atomic { NONE(ASKS) -> break }
  od;
  printf("MSC: -: 0 uses %d, 1 uses %d\n", USES(0), USES(1));
#ifdef AGREED
  assert(USES(0)==USES(1) || (USES(0)==0 && forgot[0]) || (USES(1)==0 && forgot[1]));
#endif
#ifdef REACHED
  assert(!(USES(0)==PAIRINGS && USES(1)==PAIRINGS));
#endif
  skip
}

init {
  byte i;
  atomic {
    do
    :: i<SIDES -> phase[i] = UNSIGNED; entry[i] = ABSENT; sent[i] = NOTHING; heard[i] = NOTHING; i++
    :: else -> break
    od;
    i = 0; clock[0] = CLOCK0; clock[1] = CLOCK1;
    run Session(0,0); run Session(1,0);
#if PAIRINGS==2
    if :: greater = 0 :: greater = 1 fi;
    run Session(0,1); run Session(1,1);
#endif
    run Node(0); run Node(1); run Contacts()
  }
}

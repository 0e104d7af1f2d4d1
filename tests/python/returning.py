"""Inserts rows in autocommit mode and prints the id that each was given.

Arguments: STORE THREADS ROUNDS
"""

import sys

import verso

store, threads, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
verso.register()
given = []


def insert(number):
    db = verso.connect(store)
    for round in range(rounds):
        sql = "INSERT INTO orders (thread, round) VALUES (?, ?) RETURNING id"
        # The statement commits when all its rows were fetched.
        ((order,),) = db.execute(sql, (number, round)).fetchall()
        given.append((order, number, round))
    db.close()


verso.run_threads(threads, insert)
for order, number, round in given:
    print(order, number, round)
